"""The rules of the confinement's packet filter, as nf_tables takes them.

One chain, in which each packet arrives when it comes back in through ``lo``, before routing. In nft's words::

    table inet pysocksify {
      chain arriving {
        type filter hook prerouting priority mangle; policy drop;
        meta l4proto tcp tcp flags & (syn|ack) != syn accept     # of connections that stand
        meta mark INSIDE accept                                   # for a server inside, from the broker
        meta mark OURS meta l4proto tcp meta nfproto ipv4 tproxy ip to :1 accept
        meta mark OURS meta l4proto tcp meta nfproto ipv6 tproxy ip6 to :1 accept
        meta mark OURS accept                                     # answers of the broker
        ip daddr 100.64.0.1 accept                                # the program's own address
        ip6 daddr fd00:64::1 accept
        ip daddr 127.0.0.0/8 socket wildcard { 0, 1 } accept      # a socket inside is what it is for
        ip6 daddr ::1 socket wildcard { 0, 1 } accept
        icmp type destination-unreachable accept                  # from this kernel: a port without a socket
        icmpv6 type destination-unreachable accept
        meta l4proto udp meta nfproto ipv4 tproxy ip to :1 accept
        meta l4proto udp meta nfproto ipv6 tproxy ip6 to :1 accept
      }
    }

So a SYN of a program is dropped, and a SYN that the broker has sent goes to the broker's listener, whatever
its address and port. ``tproxy`` and ``socket`` need the modules nft_tproxy and nft_socket (Linux 4.19, 4.18),
and ``socket wildcard`` Linux 5.10. nf_tables has its numbers in network byte order.
"""

from __future__ import annotations

import struct

from pywrap.confine.netlink import APPEND, CREATE, acknowledged, attribute, message, nested

# The port of the transparent sockets. It is below 1024, so that no program without privileges can bind it.
PORT = 1

# The marks of packets that the broker sends, which only a privileged process can set. Packets with the second
# mark go to the socket at their destination, not to the broker's listener.
OURS, INSIDE = 81, 82

# The program's own addresses: one of the shared space (RFC 6598), which no destination has, and a unique
# local one.
OWN_4 = bytes([100, 64, 0, 1])
OWN_6 = b"\xfd\x00\x00\x64" + bytes(11) + b"\1"

TABLE = "pysocksify"
CHAIN = "arriving"

# linux/netfilter.h, linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h
_INET, _IPV4, _IPV6 = 1, 2, 10
_PREROUTING = 0
_MANGLE = -150
_DROP, _ACCEPT = 0, 1
_SUBSYSTEM = 10
_BEGIN, _END = 0x10, 0x11
_NEW_TABLE, _NEW_CHAIN, _NEW_RULE = 0, 3, 6
_VERDICT, _REGISTER, _PORT_REGISTER = 0, 1, 2
_EQUAL, _UNEQUAL = 0, 1
_NETWORK, _TRANSPORT = 1, 2
_META_MARK, _META_NFPROTO, _META_L4PROTO = 3, 15, 16
_SOCKET_WILDCARD = 2

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
_SYN, _SYN_ACK = 0x02, 0x12
_UNREACHABLE, _UNREACHABLE_6 = 3, 1


def batch(ipv6: bool) -> list[bytes]:
    """The netlink messages that make the table; ``ipv6``: with the rules for IPv6."""
    rules = [rule for family, rule in _rules() if ipv6 or family != _IPV6]
    asked = [
        _message(_NEW_TABLE, CREATE, attribute(1, _text(TABLE))),
        _message(
            _NEW_CHAIN,
            CREATE,
            attribute(1, _text(TABLE))
            + attribute(3, _text(CHAIN))
            + nested(4, attribute(1, _number(_PREROUTING)), attribute(2, struct.pack("!i", _MANGLE)))
            + attribute(5, _number(_DROP))
            + attribute(7, _text("filter")),
        ),
        *(
            _message(
                _NEW_RULE,
                CREATE | APPEND,
                attribute(1, _text(TABLE)) + attribute(2, _text(CHAIN)) + nested(4, *rule),
            )
            for rule in rules
        ),
    ]
    edge = struct.pack("!BBH", 0, 0, _SUBSYSTEM)
    return [message(_BEGIN, 0, edge), *acknowledged(asked), message(_END, 0, edge)]


def _rules() -> list[tuple[int, list[bytes]]]:
    """The rules, each with the address family that it is for, 0 for both."""
    tcp, udp = _protocol(TCP), _protocol(UDP)
    ours, inside = ([_meta(_META_MARK), _compare(_EQUAL, struct.pack("=I", mark))] for mark in (OURS, INSIDE))
    no_syn = [_payload(_TRANSPORT, 13, 1), _mask(bytes([_SYN_ACK])), _compare(_UNEQUAL, bytes([_SYN]))]
    accept = [_verdict(_ACCEPT)]
    own_4 = [_payload(_NETWORK, 16, 4), _compare(_EQUAL, OWN_4)]
    own_6 = [_payload(_NETWORK, 24, 16), _compare(_EQUAL, OWN_6)]
    loopback_4 = [_payload(_NETWORK, 16, 1), _compare(_EQUAL, b"\x7f")]
    loopback_6 = [_payload(_NETWORK, 24, 16), _compare(_EQUAL, bytes(15) + b"\1")]
    unreachable = [_payload(_TRANSPORT, 0, 1), _compare(_EQUAL, bytes([_UNREACHABLE]))]
    unreachable_6 = [_payload(_TRANSPORT, 0, 1), _compare(_EQUAL, bytes([_UNREACHABLE_6]))]
    return [
        (0, [*tcp, *no_syn, *accept]),
        (0, [*inside, *accept]),
        (_IPV4, [*ours, *tcp, *_to_broker(_IPV4), *accept]),
        (_IPV6, [*ours, *tcp, *_to_broker(_IPV6), *accept]),
        (0, [*ours, *accept]),
        (_IPV4, [*_family(_IPV4), *own_4, *accept]),
        (_IPV6, [*_family(_IPV6), *own_6, *accept]),
        # The expression ``socket`` ends the rule where there is no socket.
        (_IPV4, [*_family(_IPV4), *loopback_4, _socket(), *accept]),
        (_IPV6, [*_family(_IPV6), *loopback_6, _socket(), *accept]),
        (_IPV4, [*_family(_IPV4), *_protocol(ICMP), *unreachable, *accept]),
        (_IPV6, [*_family(_IPV6), *_protocol(ICMPV6), *unreachable_6, *accept]),
        (_IPV4, [*udp, *_to_broker(_IPV4), *accept]),
        (_IPV6, [*udp, *_to_broker(_IPV6), *accept]),
    ]


# ---------------------------------------------------------------- expressions


def _protocol(number: int) -> list[bytes]:
    return [_meta(_META_L4PROTO), _compare(_EQUAL, bytes([number]))]


def _family(number: int) -> list[bytes]:
    return [_meta(_META_NFPROTO), _compare(_EQUAL, bytes([number]))]


def _to_broker(family: int) -> list[bytes]:
    port = nested(2, attribute(1, struct.pack("!H", PORT)))
    return [
        *_family(family),
        _expression("immediate", attribute(1, _number(_PORT_REGISTER)) + port),
        _expression("tproxy", attribute(1, _number(family)) + attribute(3, _number(_PORT_REGISTER))),
    ]


def _meta(key: int) -> bytes:
    return _expression("meta", attribute(1, _number(_REGISTER)) + attribute(2, _number(key)))


def _payload(base: int, offset: int, length: int) -> bytes:
    numbers = enumerate((_REGISTER, base, offset, length), 1)
    return _expression("payload", b"".join(attribute(kind, _number(value)) for kind, value in numbers))


def _mask(mask: bytes) -> bytes:
    numbers = enumerate((_REGISTER, _REGISTER, len(mask)), 1)
    return _expression(
        "bitwise",
        b"".join(attribute(kind, _number(value)) for kind, value in numbers)
        + nested(4, attribute(1, mask))
        + nested(5, attribute(1, bytes(len(mask)))),
    )


def _compare(operator: int, value: bytes) -> bytes:
    numbers = attribute(1, _number(_REGISTER)) + attribute(2, _number(operator))
    return _expression("cmp", numbers + nested(3, attribute(1, value)))


def _socket() -> bytes:
    return _expression("socket", attribute(1, _number(_SOCKET_WILDCARD)) + attribute(2, _number(_REGISTER)))


def _verdict(code: int) -> bytes:
    verdict = nested(2, nested(2, attribute(1, _number(code))))
    return _expression("immediate", attribute(1, _number(_VERDICT)) + verdict)


def _expression(name: str, data: bytes) -> bytes:
    return nested(1, attribute(1, _text(name)), nested(2, data))


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return message(_SUBSYSTEM << 8 | kind, flags, struct.pack("!BBH", _INET, 0, 0) + body)


def _number(value: int) -> bytes:
    return struct.pack("!I", value)


def _text(value: str) -> bytes:
    return value.encode("ascii") + b"\0"
