"""socket.sendto() and sendmsg(): what would leave directly is refused.

Before the C code sees the address, since that asks a resolver for a name. On a stream, an address means TCP
Fast Open, which would connect.
"""

from __future__ import annotations

from pywrap.intercept import originals
from pywrap.intercept.addresses import target, with_host
from pywrap.tunnel.routes import REFUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.session import Session


def functions(session: Session) -> dict[str, Callable[..., Any]]:
    """sendto() and sendmsg() under ``session``."""

    def sendto(self: _socket.socket, data: Any, *rest: Any) -> int:
        """sendto(data[, flags], address) -> count."""
        if rest:
            rest = (*rest[:-1], permitted(session, self, rest[-1]))
        return originals.sendto(self, data, *rest)

    def sendmsg(
        self: _socket.socket, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """sendmsg(buffers[, ancdata[, flags[, address]]]) -> count."""
        if address is not None:
            address = permitted(session, self, address)
        return originals.sendmsg(self, buffers, ancdata, flags, address)

    return {"sendto": sendto, "sendmsg": sendmsg}


def permitted(session: Session, sock: _socket.socket, address: Any) -> Any:
    """``address``, or what to use in its place.

    Raises:
        PermissionError: it would have to go through a proxy.
    """
    found = target(sock, address)
    if found is None:
        return address
    verdict = session.verdict(found, datagram=True)
    if verdict.kind == REFUSE:
        raise OSError(verdict.errno, verdict.reason)
    return with_host(address, verdict.literal, verdict.destination.port)
