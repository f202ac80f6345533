"""The server's dialogue with a new client, of SOCKS4 or SOCKS5, from its first byte to its request."""

from __future__ import annotations

from pywrap.errors import AuthenticationFailed, ProtocolError, Rejected
from pywrap.frozen import frozen
from pywrap.socks import v4, v5
from pywrap.socks.gssapi import METHOD, NONE, Encapsulation, accept
from pywrap.socks.wire import Endpoint, Later, Recv, Send, Wrap, with_plain_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pywrap.socks.wire import Context, Dialogue

    Check: TypeAlias = Callable[[bytes, bytes], bool | Later]

# The names of commands, whose numbers are the same in SOCKS4 and SOCKS5.
COMMANDS = {
    v5.CONNECT: "CONNECT",
    v5.BIND: "BIND",
    v5.UDP_ASSOCIATE: "UDP ASSOCIATE",
    v5.RESOLVE: "RESOLVE",
    v5.RESOLVE_PTR: "RESOLVE_PTR",
}


@frozen
class Gssapi:
    """GSSAPI of a server: a function that makes the context for a client, and the levels that it accepts."""

    make: Callable[[], Context]
    levels: tuple[int, ...]


@frozen
class Request:
    """A client's request, of SOCKS ``version`` 4 or 5.

    ``user``: the SOCKS4 user id, or the SOCKS5 username that was authenticated; b"" for none. ``checked``:
    whether it was authenticated.
    """

    version: int
    command: int
    destination: Endpoint
    user: bytes = b""
    checked: bool = False

    def reply(self, code: int, bound: Endpoint = Endpoint("0.0.0.0", 0)) -> bytes:  # noqa: B008
        """The reply in the client's version of SOCKS.

        ``code``: of SOCKS5 (RFC 1928 section 6), 0 for success; for a SOCKS4 client it is translated.
        """
        if self.version == 5:
            return v5.pack_reply(code, bound)
        return v4.pack_reply(v4.GRANTED if code == v5.SUCCEEDED else v4.REJECTED, bound)


def receive_request(check: Check | None = None, gssapi: Gssapi | None = None) -> Dialogue[Request]:
    """Greet and authenticate a client; return what it asks for.

    ``check(username, password)``: if given, a password is necessary, which SOCKS4 cannot carry. ``gssapi``:
    if given, GSSAPI is necessary, or a password where both are given. If the protocol has a message for a
    refusal, that is sent before the exception is raised.

    Raises:
        AuthenticationFailed, ProtocolError, Rejected: the server must hang up now.
    """
    (version,) = yield Recv(1)
    if version == v5.VERSION:
        return (yield from _request_5(check, gssapi))
    if version == v4.VERSION:
        return (yield from _request_4(check is not None or gssapi is not None))
    raise ProtocolError(f"not a SOCKS client: its first byte is {version:#04x}{_guess(version)}")


def _request_5(check: Check | None, gssapi: Gssapi | None) -> Dialogue[Request]:
    methods = yield from v5.receive_methods()
    method = _choose(methods, check is not None, gssapi is not None)
    yield Send(v5.select_method(method))
    if method == v5.NO_ACCEPTABLE_METHODS:
        raise AuthenticationFailed("the client offers " + (methods.hex(" ") or "no method"))
    user = b""
    if method == METHOD:
        assert gssapi is not None
        context = gssapi.make()
        level = yield from accept(context, gssapi.levels)
        user = context.peer
        if level != NONE:
            yield Wrap(Encapsulation(context, level))
    elif method == v5.USERNAME_PASSWORD:
        name, password = yield from v5.receive_credentials()
        accepted = check is None or check(name, password)
        if isinstance(accepted, Later):
            accepted = bool((yield accepted))
        yield Send(v5.answer_credentials(accepted))
        if not accepted:
            raise AuthenticationFailed(f"wrong password or unknown user: {name!r}")
        # A name that was not checked does not identify the user.
        user = name if check is not None else b""
    try:
        command, destination = yield from v5.receive_request()
    except Rejected as err:
        yield Send(v5.pack_reply(err.code))
        raise
    return Request(v5.VERSION, command, with_plain_address(destination), user, bool(user))


def _choose(methods: bytes, guarded: bool, kerberized: bool) -> int:
    """The method for a client that offers ``methods``; ``guarded``: a password is necessary, or GSSAPI.

    Without users, a client that offers passwords only is let in with any: Qt offers nothing else once it has
    been given a user (QSocks5SocketEngine), nor does `pysocksify --pipeline`. microsocks and Dante refuse
    such a client; it protects nothing, since the same client may come without a password.
    """
    if kerberized and METHOD in methods:
        return METHOD
    if kerberized and not guarded:
        return v5.NO_ACCEPTABLE_METHODS
    if not guarded and v5.NO_AUTHENTICATION in methods:
        return v5.NO_AUTHENTICATION
    return v5.USERNAME_PASSWORD if v5.USERNAME_PASSWORD in methods else v5.NO_ACCEPTABLE_METHODS


def _request_4(guarded: bool) -> Dialogue[Request]:
    try:
        command, destination, userid = yield from v4.receive_request()
    except Rejected as err:
        yield Send(v4.pack_reply(err.code))
        raise
    if guarded:
        yield Send(v4.pack_reply(v4.REJECTED))
        raise AuthenticationFailed("SOCKS4 has no passwords, and this server asks for one")
    return Request(v4.VERSION, command, with_plain_address(destination), userid)


def _guess(version: int) -> str:
    if chr(version) in "GPHOCDT":
        return " (probably an HTTP request)"
    return " (probably TLS)" if version == 0x16 else ""
