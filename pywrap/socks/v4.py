"""SOCKS4 and its 4a extension for names, both ends.

There is no RFC: the sources are "SOCKS: A protocol for TCP proxy across firewalls" and
"SOCKS 4A: A Simple Extension to SOCKS 4 Protocol", both by Ying-Da Lee. No sockets, no
clock, no logging.
"""

from __future__ import annotations

import errno

from pywrap.errors import ProtocolError, Rejected, Unencodable
from pywrap.socks.reply_errno import SOCKS4, refusal
from pywrap.socks.v5 import name_bytes, not_socks
from pywrap.socks.wire import Endpoint, Recv, Send, packed, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.socks.wire import Dialogue

VERSION = 4

CONNECT = 1
BIND = 2
# Tor's extension; see ``v5.RESOLVE``.
RESOLVE = 0xF0

GRANTED = 90
REJECTED = 91
NO_IDENT = 92
IDENT_MISMATCH = 93

# The protocol has no limit for a user id or name. 255 is the limit of SOCKS5; the servers tested accept
# little more.
LONGEST_TEXT = 255


def connect(destination: Endpoint, userid: bytes | None = None, names: bool = True) -> Dialogue[Endpoint]:
    """Ask for a connection to ``destination``; return the address that the proxy bound for us (DSTIP).

    ``userid``, ``names``, and what it raises: see ``request``.
    """
    return request(CONNECT, destination, userid, names)


def resolve(name: str, userid: bytes | None = None) -> Dialogue[Endpoint]:
    """Ask for an IPv4 address of ``name``, sent as in 4a; the port of the result means nothing.

    Tor's RESOLVE. ``userid`` and what it raises: see ``request``.
    """
    return request(RESOLVE, Endpoint(name, 0), userid)


def request(
    command: int, destination: Endpoint, userid: bytes | None = None, names: bool = True
) -> Dialogue[Endpoint]:
    """Ask for ``command`` and return the address and port of the first reply (DSTIP, DSTPORT).

    ``userid``: None is sent as an empty user id. ``names``: whether the proxy speaks 4a, so that it takes
    names. BIND has a second reply, which the caller reads by ``read_reply``.

    Raises:
        Rejected, ProtocolError, Unencodable: see ``pywrap.errors``.
    """
    yield Send(pack_request(command, destination, userid or b"", names))
    try:
        return (yield from read_reply())
    except Rejected as err:
        if packed(destination.host) is None and err.code == REJECTED:
            # Dante 1.4.2 has no 4a: it would connect to 0.0.0.1, the mark of a name, as to an address.
            raise err.copy(f"{err}, as without 4a every name is: try socks5h") from err.__cause__
        raise


def granting_reply() -> bytes:
    """The bytes by which most proxies grant a ``request``."""
    return pack_reply(GRANTED)


# ---------------------------------------------------------------- the client's half


def pack_request(command: int, destination: Endpoint, userid: bytes, names: bool = True) -> bytes:
    """A request, in the form of 4a when the destination is a name.

    Raises:
        Unencodable: IPv6, a name without 4a, or a user id that the message cannot hold.
    """
    # +----+----+----+----+----+----+----+----+----+----+....+----+
    # | VN | CD | DSTPORT |      DSTIP        | USERID       |NULL|   4a: a name and a NUL follow
    # +----+----+----+----+----+----+----+----+----+----+....+----+
    # | 1  | 1  |    2    |         4         | variable     | 1  |
    # +----+----+----+----+----+----+----+----+----+----+....+----+
    if b"\0" in userid or len(userid) > LONGEST_TEXT:
        raise Unencodable("a SOCKS4 user id has at most 255 bytes and no NUL", errno.EINVAL)
    head = bytes([VERSION, command]) + destination.port.to_bytes(2, "big")
    address = packed(destination.host)
    if address is None:
        if not names:
            raise Unencodable(f"SOCKS4 carries no names: {destination.host} (socks4a does)")
        # An impossible address, 0.0.0.x with x not 0, says that a name follows.
        return head + b"\0\0\0\1" + userid + b"\0" + name_bytes(destination.host) + b"\0"
    if len(address) != 4:
        raise Unencodable(f"SOCKS4 carries no IPv6 addresses: {destination.host}")
    if address[:3] == b"\0\0\0" and address[3]:
        raise Unencodable(f"SOCKS4 cannot carry {destination.host}: it announces a name there")
    return head + address + userid + b"\0"


def read_reply() -> Dialogue[Endpoint]:
    """Read a reply; return the address and port in it, which some proxies leave at 0.0.0.0:0.

    Raises:
        Rejected: the proxy refuses.
        ProtocolError: the answer is not one of SOCKS4.
    """
    # +----+----+----+----+----+----+----+----+
    # | VN | CD | DSTPORT |      DSTIP        |
    # +----+----+----+----+----+----+----+----+
    # | 1  | 1  |    2    |         4         |
    # +----+----+----+----+----+----+----+----+
    version, code = yield Recv(2)
    if version != 0:
        raise ProtocolError(not_socks(VERSION, bytes([version, code])))
    if code != GRANTED:
        raise refusal(SOCKS4, code)
    port = int.from_bytes((yield Recv(2)), "big")
    return Endpoint(unpacked((yield Recv(4))), port)


# ---------------------------------------------------------------- the server's half


def receive_request() -> Dialogue[tuple[int, Endpoint, bytes]]:
    """Read a request, of which the version byte was read before; return command, destination and user id.

    Raises:
        Rejected: the name or the user id is too long or empty; ``code`` is for the reply.
    """
    (command,) = yield Recv(1)
    port = int.from_bytes((yield Recv(2)), "big")
    address = yield Recv(4)
    userid = yield from _receive_text("user id")
    if address[:3] == b"\0\0\0" and address[3]:
        host = (yield from _receive_text("name")).decode("ascii", "backslashreplace")
        if not host:
            raise Rejected("an empty name", errno.EINVAL, REJECTED)
    else:
        host = unpacked(address)
    return command, Endpoint(host, port), userid


def pack_reply(code: int, bound: Endpoint = Endpoint("0.0.0.0", 0)) -> bytes:  # noqa: B008 (immutable)
    """A reply with ``code``, 90 to 93 (SOCKS4).

    An IPv6 address or a name, for which the message has no room, becomes 0.0.0.0.
    """
    address = packed(bound.host)
    if address is None or len(address) != 4:
        address = b"\0\0\0\0"
    return bytes([0, code]) + bound.port.to_bytes(2, "big") + address


def _receive_text(what: str) -> Dialogue[bytes]:
    """Read up to a NUL, which is the only end that SOCKS4 gives a text."""
    text = bytearray()
    while (byte := (yield Recv(1))) != b"\0":
        text += byte
        if len(text) > LONGEST_TEXT:
            raise Rejected(f"a {what} of more than {LONGEST_TEXT} bytes", errno.EINVAL, REJECTED)
    return bytes(text)
