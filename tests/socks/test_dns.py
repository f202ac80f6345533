"""DNS over TCP: messages written out, what can be wrong with them, and dnspython at the other end."""

from __future__ import annotations

import errno
import string

import dns.message
import dns.name
import dns.rcode
import dns.reversename
import dns.rrset
import hypothesis
import pytest
from hypothesis import strategies as st

from pywrap.errors import ProtocolError, ProxyClosed, Unencodable
from pywrap.socks import dns as ours
from pywrap.socks.dns import AAAA, NAME_ERROR, NO_ERROR, PTR, SERVER_FAILURE, A, Answer
from pywrap.socks.wire import packed
from tests.support import strategies
from tests.support.play import Party, play, refused

# One label after the other, as on the wire.
EXAMPLE_ORG = b"\x07example" + b"\x03org" + b"\x00"
WWW = b"\x03www" + b"\xc0\x0c"

QUESTION = EXAMPLE_ORG + b"\x00\x01" + b"\x00\x01"
QUESTION_6 = EXAMPLE_ORG + b"\x00\x1c" + b"\x00\x01"
QUERY = b"\x12\x34" + b"\x01\x00" + b"\x00\x01" + b"\x00\x00" * 3 + QUESTION
QUERY_6 = b"\x12\x35" + b"\x01\x00" + b"\x00\x01" + b"\x00\x00" * 3 + QUESTION_6

# A pointer to the name of the question; type, class and time to live; length and data.
HEADER = b"\x12\x34" + b"\x81\x80" + b"\x00\x01" + b"\x00\x01" + b"\x00\x00" * 2
RECORD = b"\xc0\x0c" + b"\x00\x01" + b"\x00\x01" + b"\x00\x00\x00\x3c" + b"\x00\x04" + b"\xc0\x00\x02\x07"
ANSWER = HEADER + QUESTION + RECORD
NOTHING_6 = b"\x12\x35" + b"\x81\x80" + b"\x00\x01" + b"\x00\x00" * 3 + QUESTION_6


def answer(*records, question=QUESTION, flags=b"\x81\x80"):
    """A message with ``records`` for an answer."""
    counts = b"\x00\x01" + len(records).to_bytes(2, "big") + b"\x00\x00" * 2
    return b"\x12\x34" + flags + counts + question + b"".join(records)


def record(owner, kind, data, seconds=60, cls=1):
    numbers = kind.to_bytes(2, "big") + cls.to_bytes(2, "big") + seconds.to_bytes(4, "big")
    return owner + numbers + len(data).to_bytes(2, "big") + data


def framed(*messages):
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


def parse(message, name="example.org", kind=A):
    return ours.parse_answer(message, name, kind)


@pytest.fixture
def number(monkeypatch):
    """The number of the first question."""
    monkeypatch.setattr(ours.os, "urandom", lambda size: b"\x12\x34")


# ---------------------------------------------------------------- asking


def test_an_address_is_asked_for(number):
    answers, sent, rest = play(ours.ask("example.org", (A,)), framed(ANSWER) + b"!")
    assert sent == [framed(QUERY)]
    assert answers == [Answer(NO_ERROR, ("192.0.2.7",), "example.org", 60)]
    assert rest == b"!"


@pytest.mark.parametrize("order", [(ANSWER, NOTHING_6), (NOTHING_6, ANSWER)])
def test_two_questions_go_out_together_and_are_answered_in_any_order(number, order):
    answers, sent, _ = play(ours.ask("example.org", (A, AAAA)), framed(*order))
    assert sent == [framed(QUERY, QUERY_6)]
    assert [each.values for each in answers] == [("192.0.2.7",), ()]


def test_an_answer_one_byte_at_a_time(number):
    party = Party(ours.ask("example.org", (A, AAAA)))
    party.hear(b"")
    for byte in framed(ANSWER, NOTHING_6):
        assert not party.done
        party.hear(bytes([byte]))
    assert party.done


@pytest.mark.parametrize("cut", range(len(framed(ANSWER))))
def test_a_server_that_hangs_up_anywhere(number, cut):
    refused(ProxyClosed, ours.ask("example.org", (A,)), framed(ANSWER)[:cut])


def test_a_server_that_hangs_up_after_the_first_answer_has_failed_to_give_the_second(number):
    party = Party(ours.ask("example.org", (A, AAAA)))
    party.hear(framed(ANSWER))
    with pytest.raises(StopIteration) as ended:
        party.dialogue.throw(ProxyClosed("hung up"))
    first, second = ended.value.value
    assert (first.values, second.code) == (("192.0.2.7",), SERVER_FAILURE)


def test_an_answer_without_a_question_is_an_error(number):
    err, _, _ = refused(ProtocolError, ours.ask("example.org", (AAAA,)), framed(NOTHING_6))
    assert str(err) == "a garbled answer: to a question that was not asked"


@pytest.mark.parametrize("size", [0, 11])
def test_less_than_a_header_is_an_error(number, size):
    err, _, _ = refused(ProtocolError, ours.ask("example.org", (A,)), framed(bytes(size)))
    assert str(err) == f"a garbled answer: {size} bytes"


@pytest.mark.parametrize(
    "name",
    ["", ".", "a..b", ".a", "a" * 64, "bücher.example", ".".join(["a" * 63] * 4), ".".join(["a"] * 128)],
)
def test_a_name_that_no_message_can_hold(name):
    err, sent, _ = refused(Unencodable, ours.ask(name, (A,)), b"")
    assert (err.errno, sent) == (errno.EINVAL, [])


def test_the_longest_name_is_held():
    name = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])
    assert len(ours.pack_query(1, name, A)) == 2 + 12 + 255 + 4


def test_the_name_of_an_address_is_below_arpa():
    assert ours.reverse_name(b"\xc0\x00\x02\x07") == "7.2.0.192.in-addr.arpa"
    address = b"\x20\x01\x0d\xb8" + bytes(11) + b"\x07"
    assert ours.reverse_name(address) == "7." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa"


# ---------------------------------------------------------------- answers


def test_all_addresses_in_their_order_and_the_shortest_time():
    message = answer(
        record(b"\xc0\x0c", A, b"\xc0\x00\x02\x09", 70),
        record(b"\xc0\x0c", A, b"\xc0\x00\x02\x07", 50),
        record(b"\xc0\x0c", A, b"\xc0\x00\x02\x09", 60),
    )
    assert parse(message) == Answer(NO_ERROR, ("192.0.2.9", "192.0.2.7"), "example.org", 50)


def test_aliases_are_followed_in_whatever_order_they_come():
    # www.example.org is at position 41, behind the records of the first alias.
    to_www = record(b"\xc0\x0c", 5, WWW, 30)
    www_to_web = record(b"\xc0\x29", 5, b"\x03WEB" + b"\xc0\x0c", 90)
    address = record(b"\x03web" + EXAMPLE_ORG, A, b"\xc0\x00\x02\x07", 60)
    found = Answer(NO_ERROR, ("192.0.2.7",), "WEB.example.org", 30)
    assert parse(answer(to_www, www_to_web, address)) == found
    assert parse(answer(to_www, address, www_to_web)) == found


def test_the_case_of_a_name_means_nothing():
    assert parse(answer(RECORD), "EXAMPLE.org.").values == ("192.0.2.7",)
    assert parse(answer(record(b"\x07ExAmPle" + b"\x03ORG\x00", A, b"\xc0\x00\x02\x07"))).values


def test_records_of_others_are_left_out():
    message = answer(
        record(b"\x05other" + b"\xc0\x0c", A, b"\xc0\x00\x02\x01"),
        record(b"\xc0\x0c", 46, b"a signature"),
        record(b"\xc0\x0c", AAAA, b"\x20\x01\x0d\xb8" + bytes(12)),
        record(b"\xc0\x0c", A, b"\xc0\x00\x02\x02", cls=3),
        RECORD,
    )
    assert parse(message).values == ("192.0.2.7",)


def test_a_name_without_addresses():
    assert parse(answer()) == Answer(NO_ERROR, (), "example.org", 0)
    alias = record(b"\xc0\x0c", 5, WWW)
    assert parse(answer(alias)) == Answer(NO_ERROR, (), "www.example.org", 0)


def test_a_time_with_the_highest_bit_is_none():
    assert parse(answer(record(b"\xc0\x0c", A, b"\xc0\x00\x02\x07", 1 << 31))).seconds == 0


@pytest.mark.parametrize("code", [SERVER_FAILURE, NAME_ERROR, 5])
def test_a_failure_is_told_with_the_question_or_without(code):
    flags = bytes([0x81, 0x80 | code])
    assert parse(answer(flags=flags)) == Answer(code)
    assert parse(b"\x12\x34" + flags + bytes(8)) == Answer(code)


PTR_QUESTION = b"\x017\x012\x010\x03192\x07in-addr\x04arpa\x00" + b"\x00\x0c" + b"\x00\x01"


@pytest.mark.parametrize(
    ("target", "values"),
    [
        (EXAMPLE_ORG, ("example.org",)),
        (b"\x06_x-1_y" + EXAMPLE_ORG, ("_x-1_y.example.org",)),
        # Nobody wants these in his logs.
        (b"\x00", ()),
        (b"\x09\x1b[31mevil" + EXAMPLE_ORG, ()),
        (b"\x03a.b" + EXAMPLE_ORG, ()),
        (b"\x02\xc3\xbc" + EXAMPLE_ORG, ()),
        (b"\x03-rf" + EXAMPLE_ORG, ()),
        (b"\x03192\x010\x012\x011\x00", ()),
    ],
)
def test_a_name_is_one_that_a_host_can_have(target, values):
    message = answer(record(b"\xc0\x0c", PTR, target), question=PTR_QUESTION)
    assert parse(message, "7.2.0.192.in-addr.arpa", PTR).values == values


# ---------------------------------------------------------------- what is wrong


@pytest.mark.parametrize("cut", range(12, len(ANSWER)))
def test_an_answer_that_ends_too_early(cut):
    with pytest.raises(ProtocolError, match="garbled"):
        parse(ANSWER[:cut])


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (QUERY, "not an answer"),
        (answer(flags=b"\xa9\x80"), "not an answer"),
        (answer(RECORD, flags=b"\x83\x80"), "marked as truncated"),
        (HEADER[:4] + bytes(8), "to 0 questions"),
        (answer(question=QUESTION_6), "to another question"),
        (answer(question=QUESTION[:-1] + b"\x03"), "to another question"),
        (answer()[:-1], "it ends too early"),
        (answer(question=b"\x01a\x00" + b"\x00\x01" * 2), "to another question"),
        # Pointers at themselves, at each other, and to what comes later.
        (answer(question=b"\xc0\x0c" + b"\x00\x01" * 2), "a name that points at itself"),
        (answer(RECORD, question=b"\x01a\xc0\x0c" + b"\x00\x01" * 2), "a name that points at itself"),
        (answer(record(b"\xc0\x1f\xc0\x1d", A, bytes(4))), "a name that points at itself"),
        (answer(question=b"\xc0\xff" + b"\x00\x01" * 2), "a name that points at itself"),
        (answer(record(b"\x3f" + b"a" * 63 + b"\xc0\x0c", A, bytes(4))), None),
        (answer(record((b"\x3f" + b"a" * 63) * 4 + b"\x00", A, bytes(4))), "a name without an end"),
        (answer(record(b"\x41" + bytes(65), A, bytes(4))), "an unknown kind of label: 0x41"),
        (answer(record(b"\xc0\x0c", A, bytes(5))), "an address of 5 bytes"),
        (answer(record(b"\xc0\x0c", 5, EXAMPLE_ORG + b"x")), "a name that does not fill its record"),
        (answer(record(b"\xc0\x0c", 5, EXAMPLE_ORG)), "aliases in a circle"),
        (
            answer(record(b"\xc0\x0c", 5, WWW), record(b"\xc0\x29", 5, b"\xc0\x0c")),
            "aliases in a circle",
        ),
    ],
)
def test_a_garbled_answer(message, why):
    if why is None:
        # A label of the greatest length is none.
        assert parse(message).values == ()
        return
    with pytest.raises(ProtocolError) as caught:
        parse(message)
    assert str(caught.value) == f"a garbled answer: {why}"


nearly = st.one_of(
    strategies.noise(HEADER + QUESTION, ANSWER, HEADER),
    # One byte of a good one is another.
    st.builds(
        lambda at, byte: ANSWER[:at] + bytes([byte]) + ANSWER[at + 1 :],
        st.integers(0, len(ANSWER) - 1),
        st.integers(0, 255),
    ),
)


@hypothesis.given(nearly, st.sampled_from([A, AAAA, PTR]))
def test_whatever_arrives_is_an_answer_or_an_error(message, kind):
    try:
        found = parse(message, kind=kind)
    except ProtocolError as err:
        assert str(err).startswith("a garbled answer: ")
    else:
        assert isinstance(found, Answer)


# ---------------------------------------------------------------- dnspython

label = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=63)
host_names = st.lists(label, min_size=1, max_size=6).map(".".join).filter(lambda name: len(name) <= 253)


@hypothesis.given(st.integers(0, 0xFFFF), host_names, st.sampled_from(["A", "AAAA", "PTR"]))
def test_dnspython_reads_what_we_ask(number, name, kind):
    data = ours.pack_query(number, name, getattr(ours, kind))
    message = dns.message.from_wire(data[2:])
    expected = dns.message.make_query(name, kind, id=number)
    assert message == expected
    assert message.id == number and message.flags == expected.flags
    assert int.from_bytes(data[:2], "big") == len(data) - 2


# dnspython takes IPv4-mapped IPv6 for IPv4, which is decided elsewhere here (``routes.address_of``).
plain_addresses = st.ip_addresses().filter(lambda address: getattr(address, "ipv4_mapped", None) is None)


@hypothesis.given(plain_addresses)
def test_dnspython_asks_for_the_same_name_of_an_address(address):
    assert ours.reverse_name(address.packed) + "." == str(dns.reversename.from_address(str(address)))


@hypothesis.given(
    host_names, st.lists(host_names, max_size=4), st.data(), st.sampled_from(["A", "AAAA"]), st.randoms()
)
def test_we_read_what_dnspython_answers(name, aliases, data, kind, random):
    path = list(dict.fromkeys(each.lower() for each in [name, *aliases]))
    hosts = strategies.ipv4 if kind == "A" else strategies.ipv6
    addresses = data.draw(st.lists(hosts, min_size=1, max_size=20, unique=True))
    reply = dns.message.make_response(dns.message.make_query(name, kind))
    sets = [
        dns.rrset.from_text(f"{owner}.", seconds, "IN", "CNAME", f"{target}.")
        for seconds, (owner, target) in enumerate(zip(path, path[1:], strict=False), 100)
    ]
    sets.append(dns.rrset.from_text_list(f"{path[-1]}.", 200, "IN", kind, addresses))
    # In disorder, which moves where the pointers lead to.
    random.shuffle(sets)
    reply.answer.extend(sets)
    found = ours.parse_answer(reply.to_wire(), name, getattr(ours, kind))
    assert {packed(value) for value in found.values} == {packed(address) for address in addresses}
    assert found.seconds == (100 if len(path) > 1 else 200)
    chained = [path[0], *(each for each in path[1:] if is_host(each))]
    assert found.canonical.lower() == chained[-1]


def is_host(name):
    labels = name.split(".")
    return packed(name) is None and all(each.strip("-_") and each[0] != "-" for each in labels)


def test_we_read_a_name_that_dnspython_answers():
    query = dns.message.make_query("7.2.0.192.in-addr.arpa", "PTR")
    reply = dns.message.make_response(query)
    reply.answer.append(
        dns.rrset.from_text("7.2.0.192.in-addr.arpa.", 60, "IN", "PTR", "b.example.org.", "a.example.org.")
    )
    found = ours.parse_answer(reply.to_wire(), "7.2.0.192.in-addr.arpa", PTR)
    assert sorted(found.values) == ["a.example.org", "b.example.org"]


@pytest.mark.parametrize("code", [dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_we_read_the_failures_of_dnspython(code):
    reply = dns.message.make_response(dns.message.make_query("example.org", "A"))
    reply.set_rcode(code)
    assert parse(reply.to_wire()).code == int(code)


def test_pointers_to_pointers_are_not_followed_for_ever():
    # 64 KiB: a chain of pointers, each to the one before it, and records whose owners are at its end.
    header = bytes.fromhex("0001 8180 0001 1000 0000 0000")
    question = b"\x01a\x00" + bytes.fromhex("0001 0001")
    pointers = bytearray()
    start = len(header) + len(question) + 12
    at = 12
    for place in range(8000):
        pointers += (0xC000 | at).to_bytes(2, "big")
        at = start + 2 * place
        if at > 0x3FFF - 2:
            break
    last = (0xC000 | at).to_bytes(2, "big")
    holder = (
        b"\xc0\x0c" + bytes.fromhex("0010 0001 00000000") + len(pointers).to_bytes(2, "big") + bytes(pointers)
    )
    record = last + bytes.fromhex("0010 0001 00000000 0000")
    message = (header + question + holder + record * 4095)[:65535]
    with pytest.raises(ProtocolError, match="names of too many parts"):
        parse(message, "a")


def test_as_many_addresses_as_a_message_holds_are_read():
    records = b"".join(
        b"\xc0\x0c" + bytes.fromhex("0001 0001 0000003c 0004") + number.to_bytes(4, "big")
        for number in range(4000)
    )
    message = (
        bytes.fromhex("0001 8180 0001 0fa0 0000 0000") + b"\x01a\x00" + bytes.fromhex("0001 0001") + records
    )
    assert len(parse(message, "a").values) == 4000
