"""Questions are read and answered as RFC 1035 and RFC 6891 write them, whatever a program sends."""

import dns.flags
import dns.message
import dns.rdatatype
import dns.reversename
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.confine import dns_message
from pywrap.errors import ProtocolError

# Number 0x1234, recursion desired, one question: the name, type A, class IN.
QUERY = b"\x12\x34" + b"\x01\x00" + b"\0\1\0\0\0\0\0\0" + b"\x03wWw\x07example\x00" + b"\0\1" + b"\0\1"
OPT = b"\0" + b"\0\x29" + b"\x04\xd0" + bytes(4) + b"\0\0"
WITH_OPT = QUERY[:11] + b"\1" + QUERY[12:] + OPT


def test_a_question_is_read():
    question = dns_message.read_question(QUERY)
    assert (question.number, question.name, question.kind) == (0x1234, "www.example", 1)
    assert (question.room, question.edns) == (512, False)


def test_one_with_edns():
    question = dns_message.read_question(WITH_OPT)
    assert (question.name, question.room, question.edns) == ("www.example", 1232, True)


@pytest.mark.parametrize("message", [QUERY, WITH_OPT])
def test_the_answer_is_understood_by_dnspython(message):
    question = dns_message.read_question(message)
    answer = dns.message.from_wire(dns_message.reply(question, [bytes([198, 18, 0, 1])], 0, 60))
    assert dns.message.from_wire(message).is_response(answer)
    (rows,) = answer.answer
    assert (rows[0].address, rows.ttl) == ("198.18.0.1", 60)
    assert (answer.edns >= 0) == question.edns
    # The letters as they were asked.
    assert b"wWw" in answer.question[0].name.labels


def test_ipv6_and_ptr():
    query = dns.message.make_query("www.example", "AAAA").to_wire()
    answer = dns.message.from_wire(dns_message.reply(dns_message.read_question(query), [bytes(15) + b"\1"]))
    assert answer.answer[0][0].address == "::1"
    query = dns.message.make_query(dns.reversename.from_address("198.18.0.1"), "PTR").to_wire()
    question = dns_message.read_question(query)
    assert dns_message.reversed_address(question.name) == bytes([198, 18, 0, 1])
    answer = dns.message.from_wire(dns_message.reply(question, [], name="www.example"))
    assert str(answer.answer[0][0].target) == "www.example."


def test_a_truncated_answer_says_so():
    answer = dns.message.from_wire(dns_message.truncated(dns_message.read_question(QUERY)))
    assert answer.flags & dns.flags.TC and not answer.answer


@pytest.mark.parametrize("cut", range(len(QUERY)))
def test_a_question_that_is_cut_short_is_none(cut):
    with pytest.raises(ProtocolError):
        dns_message.read_question(QUERY[:cut])


@pytest.mark.parametrize(
    "message",
    [
        QUERY[:2] + b"\x81" + QUERY[3:],  # an answer
        QUERY[:2] + b"\x29" + QUERY[3:],  # an update
        QUERY[:5] + b"\2" + QUERY[6:],  # two questions
        QUERY[:12] + b"\xc0\x0c" + QUERY[-4:],  # a pointer
        QUERY[:12] + b"\x40" + bytes(64) + b"\0" + QUERY[-4:],
        QUERY[:12] + b"\x3f" + b"a" * 63 + (b"\x3f" + b"a" * 63) * 3 + b"\0" + QUERY[-4:],  # 257 bytes
        QUERY[:-1] + b"\3",  # Chaos
    ],
)
def test_what_is_no_question(message):
    with pytest.raises(ProtocolError):
        dns_message.read_question(message)
    answer = dns_message.failure(message, dns_message.FORMAT_ERROR)
    assert answer is None or (answer[:2] == message[:2] and answer[3] & 15 == 1 and answer[2] & 0x80)


@pytest.mark.parametrize(
    "name, address",
    [
        ("4.3.2.1.in-addr.arpa", bytes([1, 2, 3, 4])),
        ("1.0." + "0." * 30 + "ip6.arpa", bytes(15) + b"\1"),
        ("3.2.1.in-addr.arpa", None),
        ("256.3.2.1.in-addr.arpa", None),
        ("x." * 32 + "ip6.arpa", None),
        ("example", None),
    ],
)
def test_the_address_of_a_reverse_name(name, address):
    assert dns_message.reversed_address(name) == address


@given(st.binary(max_size=600), st.integers(0, 60))
def test_no_bytes_break_the_reader(noise, at):
    for message in (noise, QUERY[:at] + noise, WITH_OPT[:at] + noise[:4] + WITH_OPT[at + 4 :]):
        try:
            question = dns_message.read_question(message)
        except ProtocolError:
            dns_message.failure(message, 1)
        else:
            # What is answered is well-formed, and to that question.
            answer = dns_message.reply(question, [bytes(4)], 0, 1)
            assert dns_message.read_question(message[:2] + b"\1\0" + answer[4:6] + bytes(6) + question.asked)
            dns_message.reversed_address(question.name)
