"""The SOCKS5 dialogue of a port on loopback with the library that connects to it: request and reply."""

from __future__ import annotations

import errno
from _socket import gaierror

from pywrap.errors import ProtocolError, ProxyClosed, SocksError
from pywrap.socks import v5
from pywrap.socks.serve import receive_request
from pywrap.socks.wire import Recv, Send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from pywrap.intercept.own_socket import Own
    from pywrap.socks.wire import Dialogue

    T = TypeVar("T")

# Seconds for the request, which libraries send at once.
_PATIENCE = 30.0

_GENERAL_FAILURE = 1
_CODES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), 2),
    errno.ENETUNREACH: 3,
    errno.EHOSTUNREACH: 4,
    errno.ETIMEDOUT: 6,
}
_REFUSED = 5


def serve(client: Own, connect: Callable[[str, int], Own]) -> Own:
    """Read the request of ``client``, a blocking socket; return what ``connect(host, port)`` returns for it.

    A name that cannot be looked up is answered with the code "general failure", other errors with other
    codes.

    Raises:
        OSError: there is no connection. The client has got its reply.
    """
    client.settimeout(_PATIENCE)
    try:
        request = _performed(receive_request(), client)
    except SocksError as err:
        raise OSError(errno.EPROTO, str(err)) from err
    if request.command != v5.CONNECT:
        client.sendall(request.reply(7))
        raise OSError(errno.EOPNOTSUPP, "not a request to connect")
    try:
        far = connect(request.destination.host, request.destination.port)
    except gaierror:
        client.sendall(request.reply(_GENERAL_FAILURE))
        raise
    except OSError as err:
        client.sendall(request.reply(_CODES.get(err.errno or 0, _REFUSED)))
        raise
    client.sendall(request.reply(v5.SUCCEEDED))
    return far


def _performed(dialogue: Dialogue[T], sock: Own) -> T:
    """The result of ``dialogue`` on ``sock``."""
    try:
        step = next(dialogue)
        while True:
            if isinstance(step, Send):
                sock.sendall(step)
                step = next(dialogue)
            elif isinstance(step, Recv):
                step = dialogue.send(_received(sock, step))
            else:
                raise ProtocolError("a step that is not for a plain socket")
    except StopIteration as stop:
        result: T = stop.value
        return result


def _received(sock: Own, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ProxyClosed("the library hung up")
        data += piece
    return data
