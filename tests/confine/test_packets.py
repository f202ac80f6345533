"""SYNs are read and answered as RFC 9293, RFC 792 and RFC 4443 write them; nothing else is taken for one."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pywrap.confine import packets

OWN, THERE = bytes([100, 64, 0, 1]), bytes([192, 0, 2, 7])
OWN_6, THERE_6 = b"\xfd\x00\x00\x64" + bytes(11) + b"\1", b"\x20\x01\x0d\xb8" + bytes(11) + b"\7"

# 40000 -> 443, sequence 0x01020304, a header of 24 bytes with one option (MSS 1460), flags SYN.
SEGMENT = (
    *(b"\x9c\x40", b"\x01\xbb", b"\x01\x02\x03\x04", b"\0\0\0\0"),
    *(b"\x60", b"\x02", b"\xff\xff", b"\0\0", b"\0\0", b"\x02\x04\x05\xb4"),
)
TCP = b"".join(SEGMENT)
V4 = (
    *(bytes(12), b"\x08\x00"),
    *(b"\x45\0", (20 + 24).to_bytes(2, "big"), b"\0\0\x40\0", b"\x40", b"\x06", b"\0\0", OWN, THERE),
)
V6 = (bytes(12), b"\x86\xdd", b"\x60\0\0\0", (24).to_bytes(2, "big"), b"\x06", b"\x40", OWN_6, THERE_6)
FRAMES = [b"".join(V4) + TCP, b"".join(V6) + TCP]


@pytest.mark.parametrize("frame", FRAMES)
def test_a_syn_is_read(frame):
    syn = packets.read_syn(frame)
    assert (syn.port, syn.destination_port, syn.sequence) == (40000, 443, 0x01020304)
    assert (syn.source, syn.destination) in [(OWN, THERE), (OWN_6, THERE_6)]
    assert syn.segment == TCP


@pytest.mark.parametrize("frame", FRAMES)
def test_its_data_is_left_out(frame):
    size = int.from_bytes(frame[16:18], "big")
    longer = frame[:16] + (size + 5).to_bytes(2, "big") if frame[12] == 8 else b""
    longer = longer + frame[18:] if longer else frame[:18] + (24 + 5).to_bytes(2, "big") + frame[20:]
    assert packets.read_syn(longer + b"hello").segment == TCP


@pytest.mark.parametrize("frame", FRAMES)
def test_a_syn_that_is_cut_short_is_none(frame):
    for cut in range(len(frame)):
        assert packets.read_syn(frame[:cut]) is None


@pytest.mark.parametrize("flags", [0x12, 0x04, 0x10, 0x06, 0x00, 0x11])
@pytest.mark.parametrize("frame", FRAMES)
def test_other_segments_are_none(frame, flags):
    at = len(frame) - 24 + 13
    assert packets.read_syn(frame[:at] + bytes([flags]) + frame[at + 1 :]) is None


@given(st.binary(max_size=256), st.sampled_from(FRAMES), st.integers(0, 90))
def test_no_bytes_break_the_reader(noise, frame, at):
    packets.read_syn(noise)
    packets.read_syn(frame[:at] + noise)
    syn = packets.read_syn(frame[:at] + noise[:8] + frame[at + 8 :])
    if syn is not None:
        # What is made of it is well-formed.
        for answer in (packets.again(syn), packets.reset(syn), packets.unreachable(syn, 3, 1)):
            assert correct(answer)


@pytest.mark.parametrize("frame", FRAMES)
def test_the_same_syn_once_more(frame):
    again = packets.again(packets.read_syn(frame))
    assert correct(again)
    assert packets.read_syn(again).key == packets.read_syn(frame).key


@pytest.mark.parametrize("frame", FRAMES)
def test_a_reset_acknowledges_the_syn(frame):
    answer = packets.reset(packets.read_syn(frame))
    assert correct(answer)
    source, sink, sequence, acknowledged = struct.unpack("!HHII", answer[-20:-8])
    assert (source, sink, sequence, acknowledged) == (443, 40000, 0, 0x01020305)
    assert answer[-7] == 0x14


def test_an_icmp_message_quotes_the_syn():
    answer = packets.unreachable(packets.read_syn(FRAMES[0]), 3, 1)
    assert correct(answer)
    # From the destination to the program, protocol 1, and the quoted packet's ports and sequence.
    assert (answer[14 + 9], answer[26:30], answer[30:34]) == (1, THERE, OWN)
    assert answer[34:36] == b"\x03\x01"
    assert answer[42 + 20 : 42 + 28] == TCP[:8]


def test_an_icmp_message_for_ipv6():
    answer = packets.unreachable(packets.read_syn(FRAMES[1]), 1, 1)
    assert correct(answer)
    assert (answer[14 + 6], answer[54:56]) == (58, b"\x01\x01")


@pytest.mark.parametrize("data", [b"", b"x", b"hello", b"\xff\xff" * 700, bytes(65507)])
@pytest.mark.parametrize("here, there", [(OWN, THERE), (OWN_6, THERE_6)])
def test_a_datagram(here, there, data):
    frame = packets.datagram(there, 53, here, 4000, data)
    assert correct(frame)
    assert frame.endswith(struct.pack("!HHH", 53, 4000, 8 + len(data)) + frame[-2 - len(data) :])


def correct(frame: bytes) -> bool:
    """Do the lengths and the checksums of ``frame`` fit? By the letter of RFC 1071, word for word."""
    packet = frame[14:]
    if frame[12:14] == b"\x08\x00":
        assert words(packet[:20]) == 0xFFFF
        assert int.from_bytes(packet[2:4], "big") == len(packet)
        protocol, body = packet[9], packet[20:]
        pseudo = packet[12:20] + bytes([0, protocol]) + len(body).to_bytes(2, "big")
        return words(body if protocol == 1 else pseudo + body) == 0xFFFF
    assert int.from_bytes(packet[4:6], "big") == len(packet) - 40
    protocol, body = packet[6], packet[40:]
    return words(packet[8:40] + len(body).to_bytes(4, "big") + bytes([0, 0, 0, protocol]) + body) == 0xFFFF


def words(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total
