"""The header of datagrams, byte for byte, and fragments that come in any order or never."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.errors import ProtocolError, Unencodable
from pywrap.socks.datagram import (
    LONGEST_HEADER,
    LONGEST_PAYLOAD,
    REASSEMBLY_SECONDS,
    Header,
    Reassembly,
    pack_header,
    unpack_header,
)
from pywrap.socks.wire import Endpoint
from tests.support.strategies import endpoints, noise

# +----+------+------+----------+----------+----------+
# |RSV | FRAG | ATYP | DST.ADDR | DST.PORT |   DATA   |
# +----+------+------+----------+----------+----------+
IPV4 = b"\x00\x00" + b"\x00" + b"\x01" + b"\xc0\x00\x02\x01" + b"\x00\x35"
NAME = b"\x00\x00" + b"\x00" + b"\x03" + b"\x0bexample.org" + b"\x00\x35"
IPV6 = b"\x00\x00" + b"\x00" + b"\x04" + b"\x20\x01\x0d\xb8" + b"\x00" * 11 + b"\x05" + b"\x00\x35"

HEADERS = [
    (IPV4, Endpoint("192.0.2.1", 53)),
    (NAME, Endpoint("example.org", 53)),
    (IPV6, Endpoint("2001:db8::5", 53)),
]


@pytest.mark.parametrize(("data", "endpoint"), HEADERS)
def test_a_header_is_packed(data, endpoint):
    assert pack_header(endpoint) == data


@pytest.mark.parametrize(("data", "endpoint"), HEADERS)
@pytest.mark.parametrize("payload", [b"", b"\x00", b"query"])
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_a_header_is_read_and_its_payload_left(data, endpoint, payload, kind):
    assert unpack_header(kind(data + payload)) == Header(endpoint, 0, len(data))


@pytest.mark.parametrize(("data", "cut"), [(data, cut) for data, _ in HEADERS for cut in range(len(data))])
def test_a_header_that_is_cut_off_anywhere_is_none(data, cut):
    with pytest.raises(ProtocolError):
        unpack_header(data[:cut])


@pytest.mark.parametrize("kind", [0, 2, 5, 0xFF])
def test_an_unknown_address_type_is_no_header(kind):
    with pytest.raises(ProtocolError, match=f"unknown address type: {kind}$"):
        unpack_header(b"\x00\x00\x00" + bytes([kind]) + bytes(300))


@pytest.mark.parametrize("name", [b"", b"\x00", b"local\x00host"])
def test_a_name_that_is_none_is_no_header(name):
    with pytest.raises(ProtocolError, match="empty name, or a NUL"):
        unpack_header(b"\x00\x00\x00\x03" + bytes([len(name)]) + name + b"\x00\x35")


def test_a_name_beyond_ascii_is_shown_in_ascii():
    data = b"\x00\x00\x00\x03" + b"\x02\xc3\xa4" + b"\x00\x35"
    assert unpack_header(data).endpoint == Endpoint("\\xc3\\xa4", 53)


def test_the_longest_header():
    data = pack_header(Endpoint("n" * 255, 65535))
    assert len(data) == LONGEST_HEADER
    assert unpack_header(data) == Header(Endpoint("n" * 255, 65535), 0, LONGEST_HEADER)


@pytest.mark.parametrize("name", ["", "n" * 256, "ä"])
def test_a_name_that_no_header_can_carry(name):
    with pytest.raises(Unencodable):
        pack_header(Endpoint(name, 53))


def test_reserved_bytes_do_not_matter():
    assert unpack_header(b"\xff\xff" + IPV4[2:]) == Header(Endpoint("192.0.2.1", 53), 0, 10)


@pytest.mark.parametrize("fragment", [1, 2, 127, 128, 129, 255])
def test_a_fragment_keeps_its_number(fragment):
    assert unpack_header(IPV4[:2] + bytes([fragment]) + IPV4[3:]).fragment == fragment


@given(endpoints(), st.binary(max_size=20))
def test_what_was_packed_is_read(endpoint, payload):
    data = pack_header(endpoint)
    header = unpack_header(data + payload)
    assert (header.endpoint.port, header.fragment, header.size) == (endpoint.port, 0, len(data))
    # An IPv6 address may be written in another way, and is the same; IPv4-mapped IPv6 becomes IPv4.
    mapped = b"\x00\x00\x00\x04" + b"\x00" * 10 + b"\xff\xff"
    plain = b"\x00\x00\x00\x01" + data.removeprefix(mapped) if data.startswith(mapped) else data
    assert pack_header(header.endpoint) == plain


def test_ipv4_in_ipv6_mapped_is_ipv4():
    mapped = b"\x00" * 10 + b"\xff\xff" + b"\xc0\x00\x02\x01"
    header = unpack_header(b"\x00\x00\x00\x04" + mapped + b"\x00\x35" + b"hello")
    assert header == Header(Endpoint("192.0.2.1", 53), 0, 22)


@given(noise(IPV4[:4], NAME[:4], IPV6[:4]))
def test_anything_is_a_header_or_a_protocol_error(data):
    try:
        header = unpack_header(data)
    except ProtocolError:
        return
    assert 7 < header.size <= min(len(data), LONGEST_HEADER)
    assert header.endpoint.host


# ---------------------------------------------------------------- fragments

LAST = 0x80
HERE = Endpoint("192.0.2.1", 53)
THERE = Endpoint("192.0.2.2", 53)


class Receiver:
    """A ``Reassembly`` and a clock. Fragment 3 has the payload b"3"."""

    def __init__(self):
        self.reassembly = Reassembly()
        self.now = 1000.0

    def hear(self, *fragments, endpoint=HERE):
        """What came of the last of the fragments, and how many were given up for all of them."""
        abandoned = 0
        for fragment in fragments:
            payload = b"%d" % (fragment & 0x7F)
            whole = self.reassembly.add(Header(endpoint, fragment, 10), payload, self.now)
            abandoned += self.reassembly.abandoned
        return whole, abandoned


@pytest.fixture
def receiver():
    return Receiver()


def test_fragments_in_order_make_a_whole(receiver):
    assert receiver.hear(1, 2) == (None, 0)
    assert receiver.hear(3 | LAST) == (b"123", 0)
    assert receiver.hear(1, 2 | LAST) == (b"12", 0)


def test_a_sequence_of_one(receiver):
    assert receiver.hear(1 | LAST) == (b"1", 0)


def test_the_longest_sequence(receiver):
    assert receiver.hear(*range(1, 127)) == (None, 0)
    assert receiver.hear(127 | LAST) == (b"".join(b"%d" % n for n in range(1, 128)), 0)


@pytest.mark.parametrize(
    "fragments", [[2 | LAST], [2, 3 | LAST], [0 | LAST], [1, 3 | LAST], [1, 3, 4 | LAST]]
)
def test_a_gap_cannot_be_filled(receiver, fragments):
    assert receiver.hear(*fragments) == (None, len(fragments))
    assert receiver.hear(1, 2 | LAST) == (b"12", 0)


def test_a_lower_number_begins_a_new_sequence(receiver):
    assert receiver.hear(1, 2, 3, 1) == (None, 3)
    assert receiver.hear(2 | LAST) == (b"12", 0)


def test_a_lower_number_that_is_not_the_first_ends_the_sequence(receiver):
    assert receiver.hear(1, 2, 3, 2) == (None, 4)
    assert receiver.hear(4 | LAST) == (None, 1)


def test_a_fragment_that_comes_twice_does_no_harm(receiver):
    assert receiver.hear(1, 1, 2, 2, 3, 3) == (None, 3)
    assert receiver.hear(4 | LAST) == (b"1234", 0)


def test_the_last_one_twice_is_given_up(receiver):
    assert receiver.hear(1, 2 | LAST) == (b"12", 0)
    assert receiver.hear(2 | LAST) == (None, 1)


def test_a_sequence_ends_with_its_timer(receiver):
    receiver.hear(1)
    receiver.now += REASSEMBLY_SECONDS - 0.01
    assert receiver.hear(2) == (None, 0)
    # It does not begin again with each fragment.
    receiver.now += 0.01
    assert receiver.hear(3 | LAST) == (None, 3)
    assert receiver.hear(1, 2 | LAST) == (b"12", 0)


def test_the_timer_is_at_least_what_the_rfc_asks():
    assert REASSEMBLY_SECONDS >= 5


def test_another_destination_is_another_sequence(receiver):
    assert receiver.hear(1) == (None, 0)
    assert receiver.hear(2 | LAST, endpoint=THERE) == (None, 2)
    assert receiver.hear(1) == (None, 0)
    assert receiver.hear(1, 2 | LAST, endpoint=THERE) == (b"12", 1)


def test_a_whole_is_no_longer_than_a_datagram_gets():
    reassembly = Reassembly()
    half = bytes(LONGEST_PAYLOAD // 2)
    assert reassembly.add(Header(HERE, 1, 10), half, 0.0) is None
    assert reassembly.add(Header(HERE, 2, 10), half, 0.0) is None
    whole = reassembly.add(Header(HERE, 3 | LAST, 10), bytes(LONGEST_PAYLOAD % 2), 0.0)
    assert whole is not None and len(whole) == LONGEST_PAYLOAD
    for number in (1, 2):
        assert reassembly.add(Header(HERE, number, 10), half, 0.0) is None
    assert reassembly.add(Header(HERE, 3 | LAST, 10), b"xx", 0.0) is None
    assert reassembly.abandoned == 3


def test_what_is_left_at_the_end_is_counted(receiver):
    receiver.hear(1, 2)
    assert receiver.reassembly.abandon() == 2
    assert receiver.reassembly.abandon() == 0


@given(
    st.lists(st.tuples(st.integers(1, 0xFF), st.sampled_from((HERE, THERE)), st.floats(0, 3)), max_size=40)
)
def test_no_fragment_is_lost_count_of_or_mixed_up(arrivals):
    reassembly = Reassembly()
    now = 0.0
    done = abandoned = 0
    for serial, (fragment, endpoint, wait) in enumerate(arrivals):
        now += wait
        whole = reassembly.add(
            Header(endpoint, fragment, 10), b"%d@%s," % (serial, endpoint.host.encode()), now
        )
        abandoned += reassembly.abandoned
        if whole is not None:
            pieces = [piece.split(b"@") for piece in whole.split(b",")[:-1]]
            done += len(pieces)
            assert fragment & LAST
            # From one destination, and each newer than the one before; the last is what just came.
            assert {host for _, host in pieces} == {endpoint.host.encode()}
            serials = [int(number) for number, _ in pieces]
            assert serials == sorted(set(serials)) and serials[-1] == serial
            assert [arrivals[each][0] & 0x7F for each in serials] == list(range(1, len(pieces) + 1))
    assert done + abandoned + reassembly.abandon() == len(arrivals)
