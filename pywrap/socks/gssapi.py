"""GSSAPI authentication and encapsulation for SOCKS5 (RFC 1961), both ends. No sockets, no Kerberos.

The caller passes the security context, an object that a library makes (python-gssapi).
"""

from __future__ import annotations

from pywrap.errors import AuthenticationFailed, ProtocolError
from pywrap.socks.wire import Recv, Send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywrap.socks.wire import Context, Dialogue


METHOD = 0x01

VERSION = 1

# RFC 1961 section 3.
AUTHENTICATION = 1
PROTECTION = 2
ENCAPSULATED = 3
ABORT = 0xFF

# Levels of protection, RFC 1961 section 4.3. NONE is not in the RFC: curl uses it, and it means that nothing
# is encapsulated after authentication.
NONE = 0
INTEGRITY = 1
CONFIDENTIALITY = 2
SELECTIVE = 3

_LONGEST = 0xFFFF
# Bytes of plain data in one message. The mechanism makes the token longer, Kerberos by some 60 bytes.
_PIECE = 32 * 1024

REFUSAL = bytes([VERSION, ABORT])


def initiate(context: Context, level: int, token: bytes = b"") -> Dialogue[int]:
    """The client's half, after the server has picked METHOD; return the level that was agreed on.

    ``level``: NONE to CONFIDENTIALITY, as the user demands it. ``token``: the first one, where it was made
    before.

    Raises:
        AuthenticationFailed, ProtocolError: the caller must close the connection.
    """
    token = token or context.step(b"")
    while True:
        if token:
            yield Send(pack(AUTHENTICATION, token))
        if context.is_complete:
            break
        token = context.step((yield from _receive(AUTHENTICATION)))
    # +------+------+------+.......................+
    # + ver  | mtyp | len  |   token               |   the token: one octet, the level, without secrecy
    # +------+------+------+.......................+
    # + 0x01 | 0x02 | 0x02 | up to 2^16 - 1 octets |
    # +------+------+------+.......................+
    yield Send(pack(PROTECTION, context.wrap(bytes([level]), False)))
    answer, _ = context.unwrap((yield from _receive(PROTECTION)))
    if len(answer) != 1:
        raise ProtocolError(f"a level of protection of {len(answer)} bytes")
    if answer[0] < level and level != SELECTIVE:
        raise AuthenticationFailed(f"the proxy protects less than was asked for: {answer[0]}, not {level}")
    return answer[0]


def accept(context: Context, levels: Sequence[int]) -> Dialogue[int]:
    """The server's half; return the level that is agreed on: the one of ``levels`` that the client has asked
    for, or the next lower one.

    Raises:
        AuthenticationFailed, ProtocolError: the caller must close the connection. The refusal that the
            protocol has for the client was sent.
    """
    while True:
        token = yield from _receive(AUTHENTICATION)
        try:
            answer = context.step(token)
        except AuthenticationFailed:
            yield Send(REFUSAL)
            raise
        if answer:
            yield Send(pack(AUTHENTICATION, answer))
        if context.is_complete:
            break
    token = yield from _receive(PROTECTION)
    # One octet that is not wrapped by GSSAPI: NEC's server does it so, and curl has an option for that.
    plainly = len(token) == 1
    wanted = token if plainly else context.unwrap(token)[0]
    # RFC 1961 section 4.4: the server chooses the level; a client that wants more protection hangs up.
    is_one = len(wanted) == 1 and wanted[0] <= SELECTIVE
    served = [level for level in levels if level <= wanted[0]] if is_one else []
    if not served:
        yield Send(REFUSAL)
        raise AuthenticationFailed(f"a level of protection that is not served: {wanted.hex()}")
    level = bytes([max(served)])
    yield Send(pack(PROTECTION, level if plainly else context.wrap(level, False)))
    return level[0]


def pack(kind: int, token: bytes) -> bytes:
    """A message of RFC 1961, section 3.4: version, type (``kind``), length, token."""
    return bytes([VERSION, kind]) + len(token).to_bytes(2, "big") + token


def _receive(kind: int) -> Dialogue[bytes]:
    version, found = yield Recv(2)
    if version != VERSION or found not in (kind, ABORT):
        raise ProtocolError(f"expected a GSSAPI message of type {kind}, got {version} {found}")
    if found == ABORT:
        raise AuthenticationFailed("the other end has given up GSSAPI")
    length = int.from_bytes((yield Recv(2)), "big")
    return (yield Recv(length)) if length else b""


class Encapsulation:
    """The codec of what follows the authentication: bytes in the messages of RFC 1961 section 5.

    It implements ``relay.wrapped.Codec``. ``level``: as ``initiate`` or ``accept`` returns it.
    """

    def __init__(self, context: Context, level: int) -> None:
        self._context = context
        self._secret = level in (CONFIDENTIALITY, SELECTIVE)
        # What is not secret is not taken where everything must be.
        self._must_be_secret = level == CONFIDENTIALITY
        self._buffer = bytearray()
        self.ended = False

    def decode(self, data: bytes) -> bytes:
        """The data of all messages that are complete now; an incomplete one is kept for the next call.

        Raises:
            SocksError: a message is broken, or not as secret as was agreed on.
        """
        buffer = self._buffer
        buffer += data
        plain = b""
        while len(buffer) >= 4:
            end = 4 + int.from_bytes(buffer[2:4], "big")
            if len(buffer) < end and buffer[:2] == bytes([VERSION, ENCAPSULATED]):
                break
            plain += self.decode_one(bytes(buffer[:end]))
            del buffer[:end]
        return plain

    def decode_one(self, message: bytes) -> bytes:
        """The data of ``message``, a whole one; a datagram is one message (RFC 1961 section 5).

        Raises:
            SocksError: it is broken, or not as secret as was agreed on.
        """
        length = int.from_bytes(message[2:4], "big")
        if message[:2] != bytes([VERSION, ENCAPSULATED]) or len(message) != 4 + length:
            raise ProtocolError("not an encapsulated message of GSSAPI")
        data, secret = self._context.unwrap(message[4:])
        if self._must_be_secret and not secret:
            raise ProtocolError("a GSSAPI message that is not encrypted, where all have to be")
        return data

    def encode(self, data: bytes) -> bytes:
        """``data`` in messages of RFC 1961 section 5, as many as it needs."""
        pieces = (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
        return b"".join(map(self.encode_one, pieces))

    def encode_one(self, data: bytes) -> bytes:
        """``data`` in one message, as a datagram is sent (RFC 1961 section 5).

        Raises:
            ProtocolError: ``data`` is longer than a message can hold.
        """
        token = self._context.wrap(data, self._secret)
        if len(token) > _LONGEST:
            raise ProtocolError("more than a GSSAPI message can hold")
        return pack(ENCAPSULATED, token)

    def finish(self) -> bytes:
        """b"": RFC 1961 has no message that announces the end of the connection."""
        return b""

    def take_output(self) -> bytes:
        """b"": nothing is sent but what ``encode`` returns."""
        return b""
