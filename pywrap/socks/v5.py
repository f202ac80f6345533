"""SOCKS5 messages (RFC 1928) and its username/password method (RFC 1929), both ends.

Tor's two commands for look-ups are here too (https://spec.torproject.org/socks-extensions). No
sockets, no clock, no logging. The client's half comes first, then the server's.
"""

from __future__ import annotations

import errno

from pywrap.errors import (
    AUTHENTICATED,
    UNHEARD,
    AuthenticationFailed,
    NoCommonMethod,
    ProtocolError,
    Rejected,
    SocksError,
    Unencodable,
)
from pywrap.socks.reply_errno import SOCKS5, refusal
from pywrap.socks.wire import Endpoint, Recv, RecvGreeting, RecvLogin, Send, packed, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.socks.wire import Dialogue, Script

VERSION = 5

# Section 3.
NO_AUTHENTICATION = 0x00
USERNAME_PASSWORD = 0x02
NO_ACCEPTABLE_METHODS = 0xFF

# Section 4.
CONNECT = 1
BIND = 2
UDP_ASSOCIATE = 3
# Tor's extensions. The reply has the answer as BND.ADDR, and the connection ends after it.
RESOLVE = 0xF0
RESOLVE_PTR = 0xF1

# Section 5.
IPV4 = 1
NAME = 3
IPV6 = 4

# Section 6.
SUCCEEDED = 0
GENERAL_FAILURE = 1
NOT_ALLOWED = 2
NETWORK_UNREACHABLE = 3
HOST_UNREACHABLE = 4
CONNECTION_REFUSED = 5
TTL_EXPIRED = 6
COMMAND_NOT_SUPPORTED = 7
ADDRESS_TYPE_NOT_SUPPORTED = 8


def connect(
    destination: Endpoint, username: bytes | None = None, password: bytes | None = None
) -> Dialogue[Endpoint]:
    """Ask for a connection to ``destination``; return the address that the proxy bound for us (BND.ADDR).

    Arguments and exceptions are those of ``request``.
    """
    return request(CONNECT, destination, username, password)


def resolve(name: str, username: bytes | None = None, password: bytes | None = None) -> Dialogue[Endpoint]:
    """Ask for an address of ``name`` (Tor's RESOLVE); the port of the result means nothing.

    Raises:
        ProtocolError: the proxy answers with a name. The other exceptions are those of ``request``.
    """
    found = yield from request(RESOLVE, Endpoint(name, 0), username, password)
    if packed(found.host) is None:
        raise ProtocolError(f"the proxy resolved {name} to a name: {found.host!r}")
    return found


def resolve_ptr(
    address: str, username: bytes | None = None, password: bytes | None = None
) -> Dialogue[Endpoint]:
    """Ask for the name of an IPv4 or IPv6 ``address`` (RESOLVE_PTR); the port of the result means nothing.

    Raises:
        ProtocolError: the proxy answers without a name. The other exceptions are those of ``request``.
    """
    found = yield from request(RESOLVE_PTR, Endpoint(address, 0), username, password)
    if not found.host or packed(found.host) is not None:
        raise ProtocolError(f"the proxy has no name for {address}: {found.host!r}")
    return found


def request(
    command: int,
    destination: Endpoint,
    username: bytes | None = None,
    password: bytes | None = None,
    single_method: bool = False,
) -> Dialogue[Endpoint]:
    """Authenticate, ask for ``command``, and return the address of the first reply (BND.ADDR).

    BIND has a second reply, when the peer has connected; the caller reads it by ``read_reply``. ``username``,
    ``password`` and ``single_method`` are as in ``authenticate``.

    Raises:
        Rejected, AuthenticationFailed, ProtocolError, Unencodable: see ``pywrap.errors``.
    """
    message = pack_request(command, destination)
    yield from authenticate(username, password, single_method)
    yield Send(message)
    try:
        return (yield from read_reply())
    except SocksError as err:
        raise err.copy(stage=AUTHENTICATED) from err.__cause__


def granting_reply(username: bytes | None) -> bytes:
    """The bytes, greeting included, by which most proxies grant a ``request`` with ``single_method``."""
    method = NO_AUTHENTICATION if username is None else USERNAME_PASSWORD
    welcome = b"" if username is None else answer_credentials(True)
    return select_method(method) + welcome + pack_reply(SUCCEEDED)


# ---------------------------------------------------------------- the client's half


# What most proxies reply to a request that they grant; 4 bytes of an address and 2 of its port follow.
_GRANTED = bytes([VERSION, SUCCEEDED, 0, IPV4])
_PLACE = 6


def usual_login(username: bytes | None, password: bytes | None) -> Script:
    """The messages of ``authenticate`` with a proxy that picks the one method offered, and takes the login.

    Raises:
        Unencodable: as ``pack_credentials``.
    """
    if username is None:
        return Send([VERSION, 1, NO_AUTHENTICATION]), select_method(NO_AUTHENTICATION)
    greeting = Send([VERSION, 2, NO_AUTHENTICATION, USERNAME_PASSWORD])
    credentials = Send(pack_credentials(username, password or b""))
    return greeting, select_method(USERNAME_PASSWORD), credentials, answer_credentials(True)


def usual_connect(destination: Endpoint) -> Script:
    """The request for a connection to ``destination``, and the reply by which most proxies grant it.

    Raises:
        Unencodable: as ``pack_request``.
    """
    return Send(pack_request(CONNECT, destination)), _GRANTED, _PLACE


# Steps that every conversation has: made once, since making them takes time.
_TWO = Recv(2)
_GREETING = RecvGreeting(2)
_LOGIN = RecvLogin(2)
_SIX = Recv(6)


def authenticate(
    username: bytes | None, password: bytes | None, single_method: bool = False
) -> Dialogue[None]:
    """Offer methods, and authenticate by the one that the proxy picks (RFC 1928 section 3, RFC 1929).

    ``username``: None offers no authentication alone. ``single_method``: offer one method alone, so that the
    proxy's choice is known before it is read.

    Raises:
        NoCommonMethod: the proxy takes none of the methods.
        AuthenticationFailed: the proxy refuses the username and the password.
        ProtocolError: the answer is not SOCKS5, or picks a method that was not offered.
        Unencodable: as ``pack_credentials``.
    """
    if username is None:
        methods = bytes([NO_AUTHENTICATION])
        credentials = b""
    elif single_method:
        methods = bytes([USERNAME_PASSWORD])
        credentials = pack_credentials(username, password or b"")
    else:
        # Both methods: a proxy may need no password although its URL has one.
        methods = bytes([NO_AUTHENTICATION, USERNAME_PASSWORD])
        credentials = pack_credentials(username, password or b"")

    # +----+----------+----------+
    # |VER | NMETHODS | METHODS  |
    # +----+----------+----------+
    # | 1  |    1     | 1 to 255 |
    # +----+----------+----------+
    yield Send(bytes([VERSION, len(methods)]) + methods)
    try:
        version, method = yield _GREETING
        if version != VERSION:
            raise ProtocolError(not_socks(VERSION, bytes([version, method])))
    except SocksError as err:
        raise err.copy(stage=UNHEARD) from err.__cause__
    if method == NO_ACCEPTABLE_METHODS:
        raise NoCommonMethod(
            "the proxy accepts none of our authentication methods"
            if credentials
            else "the proxy asks for authentication, and no username was given"
        )
    if method not in methods:
        raise ProtocolError(f"the proxy picked authentication method {method}, never offered")
    if method == USERNAME_PASSWORD:
        yield Send(credentials)
        # The version byte should be 1; curl does not look at it either, and servers
        # that answer 5 exist.
        _, status = yield _LOGIN
        if status != 0:
            raise AuthenticationFailed("the proxy refused the username or the password")


def pack_credentials(username: bytes, password: bytes) -> bytes:
    """The request of RFC 1929 section 2.

    Raises:
        Unencodable: the username is empty, or one of the two is longer than 255 bytes.
    """
    # +----+------+----------+------+----------+
    # |VER | ULEN |  UNAME   | PLEN |  PASSWD  |
    # +----+------+----------+------+----------+
    # | 1  |  1   | 1 to 255 |  1   | 1 to 255 |
    # +----+------+----------+------+----------+
    if not 1 <= len(username) <= 255:
        raise Unencodable(f"a SOCKS5 username has 1 to 255 bytes, not {len(username)}", errno.EINVAL)
    # An empty password is against the letter of the RFC; every server measured takes it.
    if len(password) > 255:
        raise Unencodable(f"a SOCKS5 password has at most 255 bytes, not {len(password)}", errno.EINVAL)
    return bytes([1, len(username)]) + username + bytes([len(password)]) + password


def pack_request(command: int, destination: Endpoint) -> bytes:
    """The request of RFC 1928 section 4.

    Raises:
        Unencodable: the name is empty, too long, or not ASCII.
    """
    # +----+-----+-------+------+----------+----------+
    # |VER | CMD |  RSV  | ATYP | DST.ADDR | DST.PORT |
    # +----+-----+-------+------+----------+----------+
    # | 1  |  1  | X'00' |  1   | Variable |    2     |
    # +----+-----+-------+------+----------+----------+
    return bytes([VERSION, command, 0]) + pack_endpoint(destination)


def read_reply() -> Dialogue[Endpoint]:
    """Read one reply (RFC 1928 section 6); return the address and port that the proxy bound for us.

    Raises:
        Rejected: the reply's code is not 0, "succeeded".
        ProtocolError: the bytes are no reply of SOCKS5.
    """
    # +----+-----+-------+------+----------+----------+
    # |VER | REP |  RSV  | ATYP | BND.ADDR | BND.PORT |
    # +----+-----+-------+------+----------+----------+
    # | 1  |  1  | X'00' |  1   | Variable |    2     |
    # +----+-----+-------+------+----------+----------+
    version, code = yield _TWO
    if version != VERSION:
        raise ProtocolError(f"expected a SOCKS version 5 reply, got version {version}")
    if code != SUCCEEDED:
        # The rest of a refusal is not read: some servers close the connection without sending it.
        raise refusal(SOCKS5, code)
    _, kind = yield _TWO
    if kind == IPV4:
        # IPv4 is by far the most common type. Read here, it saves the generator of ``read_endpoint``.
        data = yield _SIX
        return Endpoint(unpacked(data[:4]), int.from_bytes(data[4:], "big"))
    try:
        return (yield from read_endpoint(kind))
    except Rejected as err:
        # This is no refusal: the proxy said "succeeded", and then sent no valid address.
        raise ProtocolError(f"the proxy's reply has {err}") from None


# ---------------------------------------------------------------- the server's half


def receive_methods() -> Dialogue[bytes]:
    """Read the client's greeting (RFC 1928 section 3), of which the version byte was read before.

    Return the numbers of the methods that it offers, a byte each.
    """
    (count,) = yield Recv(1)
    return (yield Recv(count)) if count else b""


def select_method(method: int) -> bytes:
    """The server's answer to a greeting (RFC 1928 section 3): it picks the number ``method``."""
    return bytes([VERSION, method])


def receive_credentials() -> Dialogue[tuple[bytes, bytes]]:
    """Read a request of RFC 1929; return username and password.

    Raises:
        ProtocolError: it has another version than 1.
    """
    version, length = yield Recv(2)
    if version != 1:
        raise ProtocolError(f"expected version 1 of username/password, got {version}")
    username = (yield Recv(length)) if length else b""
    (length,) = yield Recv(1)
    password = (yield Recv(length)) if length else b""
    return username, password


def answer_credentials(accepted: bool) -> bytes:
    """The response of RFC 1929 section 2; after a refusal the server must hang up."""
    return b"\x01\x00" if accepted else b"\x01\x01"


def receive_request() -> Dialogue[tuple[int, Endpoint]]:
    """Read a request (RFC 1928 section 4); return the command's number and the destination.

    Raises:
        Rejected: the server must refuse it, by a reply with the exception's ``code``.
        ProtocolError: this is no request; the caller must close the connection.
    """
    version, command, _, kind = yield Recv(4)
    if version != VERSION:
        raise ProtocolError(f"expected a SOCKS version 5 request, got version {version}")
    destination = yield from read_endpoint(kind)
    if not destination.host:
        raise Rejected("an empty name", errno.EINVAL, GENERAL_FAILURE)
    return command, destination


def pack_reply(code: int, bound: Endpoint = Endpoint("0.0.0.0", 0)) -> bytes:  # noqa: B008 (immutable)
    """The reply of RFC 1928 section 6."""
    return bytes([VERSION, code, 0]) + pack_endpoint(bound)


# ---------------------------------------------------------------- both


def pack_endpoint(endpoint: Endpoint) -> bytes:
    """ATYP, address and port as in requests, replies and datagrams (RFC 1928 section 5).

    Raises:
        Unencodable: the host is a name that ``name_bytes`` does not take.
    """
    address = packed(endpoint.host)
    if address is None:
        name = name_bytes(endpoint.host)
        kind = bytes([NAME, len(name)]) + name
    else:
        kind = bytes([IPV4 if len(address) == 4 else IPV6]) + address
    return kind + endpoint.port.to_bytes(2, "big")


def read_endpoint(kind: int) -> Dialogue[Endpoint]:
    """Read address and port (RFC 1928 section 5); ``kind`` is the ATYP, which was read before.

    Raises:
        Rejected: the address type is unknown (reply 8), or the name is not one (reply 1).
    """
    if kind == IPV4:
        data = yield Recv(6)
        host = unpacked(data[:-2])
    elif kind == IPV6:
        data = yield Recv(18)
        host = unpacked(data[:-2])
    elif kind == NAME:
        (length,) = yield Recv(1)
        data = yield Recv(length + 2)
        host = data[:-2].decode("ascii", "backslashreplace")
        if b"\0" in data[:-2]:
            # Five servers tested cut the name at the NUL, and connect to another host than they log.
            raise Rejected(f"a NUL in a name: {host!r}", errno.EINVAL, GENERAL_FAILURE)
    else:
        raise Rejected(
            f"an unknown SOCKS5 address type: {kind}", errno.EAFNOSUPPORT, ADDRESS_TYPE_NOT_SUPPORTED
        )
    return Endpoint(host, int.from_bytes(data[-2:], "big"))


def name_bytes(name: str) -> bytes:
    """``name`` as SOCKS carries it: 1 to 255 bytes of ASCII (IDNA has been applied before).

    Raises:
        Unencodable: ``name`` is empty, longer, or not ASCII.
    """
    try:
        data = name.encode("ascii")
    except UnicodeEncodeError:
        raise Unencodable(f"not an ASCII name: {name!r}", errno.EINVAL) from None
    if not 1 <= len(data) <= 255 or b"\0" in data:
        raise Unencodable(f"a name has 1 to 255 bytes and no NUL: {name!r}", errno.EINVAL)
    return data


def not_socks(version: int, start: bytes) -> str:
    """A message for users that guesses what answered, from ``start``: the first bytes of the answer.

    ``version``: of SOCKS, which was expected.
    """
    guesses: list[tuple[Callable[[bytes], bool], str]] = [
        (lambda b: b[:1] in b"Hh<", "it answers like an HTTP server"),
        (lambda b: b[:1] == b"S", "it answers like an SSH server"),
        (lambda b: b[:1] in b"\x15\x16", "it answers like a TLS server"),
        (lambda b: b[:1] == b"\0" and version == 5, "it answers like a SOCKS4 server"),
        (lambda b: b[:1] in b"\4\5", f"it answers with version {start[0]}"),
    ]
    for matches, guess in guesses:
        if matches(start):
            return f"not a SOCKS{version} proxy: {guess}"
    return f"probably not a SOCKS{version} proxy: its answer starts with {start!r}"
