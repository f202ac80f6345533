"""The server's dialogue with a new client, of SOCKS4 or SOCKS5, from its first byte to its request."""

from __future__ import annotations

from pywrap.errors import AuthenticationFailed, ProtocolError, Rejected
from pywrap.frozen import frozen
from pywrap.socks import v4, v5
from pywrap.socks.wire import Endpoint, Recv, Send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.socks.wire import Dialogue

# The names of commands, whose numbers are the same in SOCKS4 and SOCKS5.
COMMANDS = {
    v5.CONNECT: "CONNECT",
    v5.BIND: "BIND",
    v5.UDP_ASSOCIATE: "UDP ASSOCIATE",
    v5.RESOLVE: "RESOLVE",
    v5.RESOLVE_PTR: "RESOLVE_PTR",
}


@frozen
class Request:
    """A client's request, of SOCKS ``version`` 4 or 5.

    ``user``: the SOCKS4 user id, or the SOCKS5 username whose password was checked; b"" for none.
    """

    version: int
    command: int
    destination: Endpoint
    user: bytes = b""

    def reply(self, code: int, bound: Endpoint = Endpoint("0.0.0.0", 0)) -> bytes:  # noqa: B008
        """The reply in the client's version; ``code`` is of SOCKS5, 0 for success."""
        if self.version == 5:
            return v5.pack_reply(code, bound)
        return v4.pack_reply(v4.GRANTED if code == v5.SUCCEEDED else v4.REJECTED, bound)


def receive_request(check: Callable[[bytes, bytes], bool] | None = None) -> Dialogue[Request]:
    """Greet and authenticate a client; return what it asks for.

    ``check(username, password)`` makes a password necessary, which SOCKS4 cannot give.
    If the protocol has a message for a refusal, that is sent before the exception is raised.

    Raises:
        AuthenticationFailed, ProtocolError, Rejected: the server must hang up now.
    """
    (version,) = yield Recv(1)
    if version == v5.VERSION:
        return (yield from _request_5(check))
    if version == v4.VERSION:
        return (yield from _request_4(check))
    raise ProtocolError(f"not a SOCKS client: its first byte is {version:#04x}{_guess(version)}")


def _request_5(check: Callable[[bytes, bytes], bool] | None) -> Dialogue[Request]:
    methods = yield from v5.receive_methods()
    wanted = v5.NO_AUTHENTICATION if check is None else v5.USERNAME_PASSWORD
    if wanted not in methods:
        yield Send(v5.select_method(v5.NO_ACCEPTABLE_METHODS))
        raise AuthenticationFailed("the client offers " + (methods.hex(" ") or "no method"))
    yield Send(v5.select_method(wanted))
    user = b""
    if check is not None:
        user, password = yield from v5.receive_credentials()
        accepted = check(user, password)
        yield Send(v5.answer_credentials(accepted))
        if not accepted:
            raise AuthenticationFailed(f"wrong password or unknown user: {user!r}")
    try:
        command, destination = yield from v5.receive_request()
    except Rejected as err:
        yield Send(v5.pack_reply(err.code))
        raise
    return Request(v5.VERSION, command, destination, user)


def _request_4(check: Callable[[bytes, bytes], bool] | None) -> Dialogue[Request]:
    try:
        command, destination, userid = yield from v4.receive_request()
    except Rejected as err:
        yield Send(v4.pack_reply(err.code))
        raise
    if check is not None:
        yield Send(v4.pack_reply(v4.REJECTED))
        raise AuthenticationFailed("SOCKS4 has no passwords, and this server asks for one")
    return Request(v4.VERSION, command, destination, userid)


def _guess(version: int) -> str:
    if chr(version) in "GPHOCDT":
        return " (probably an HTTP request)"
    return " (probably TLS)" if version == 0x16 else ""
