"""socket.sendto() and sendmsg() of streams, of raw sockets, and of datagram sockets without a flow.

The destination is checked before the C code gets it, which would ask a resolver for a name. On a stream,
Linux ignores an address, except with MSG_FASTOPEN (RFC 7413), which would connect. That is refused unless the
destination is direct, and so are raw sockets.
"""

from __future__ import annotations

import _socket

from pywrap.intercept import originals
from pywrap.intercept.addresses import target, with_host
from pywrap.intercept.loading import load
from pywrap.intercept.udp.datagram_methods import adopt, has_flow, methods
from pywrap.tunnel.routes import DIRECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.runtime import Runtime


def functions(runtime: Runtime) -> dict[str, Callable[..., Any]]:
    """sendto() and sendmsg() under ``runtime``."""
    sending = Sending(runtime)
    return {"sendto": sending.sendto, "sendmsg": sending.sendmsg}


class Sending:
    """The two under ``runtime``; ``sock`` is their own ``self``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def sendto(self, sock: _socket.socket, data: Any, *rest: Any) -> int:
        """sendto(data[, flags], address) -> count."""
        if rest:
            if _is_stream(sock, rest[-1], rest[0] if len(rest) == 2 else 0):
                return originals.send(sock, data, *rest[:-1])
            if has_flow(self._runtime.registry, sock):
                # The caller has kept this method from a time when the socket had no flow.
                return int(methods(sock).sendto(sock, data, *rest))
            address = self._permitted(sock, rest[-1])
            if address is None:
                return int(methods(adopt(self._runtime, sock)).sendto(sock, data, *rest))
            rest = (*rest[:-1], address)
        return originals.sendto(sock, data, *rest)

    def sendmsg(
        self, sock: _socket.socket, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None, /
    ) -> int:
        """sendmsg(buffers[, ancdata[, flags[, address]]]) -> count."""
        if ancdata:
            ancdata = list(ancdata)
            load("pywrap.intercept.source_routes").check_ancillary(self._runtime, ancdata)
        if has_flow(self._runtime.registry, sock):
            return int(methods(sock).sendmsg(sock, buffers, ancdata, flags, address))
        if address is not None:
            if _is_stream(sock, address, flags):
                return originals.sendmsg(sock, buffers, ancdata, flags)
            found = self._permitted(sock, address)
            if found is None:
                through = methods(adopt(self._runtime, sock))
                return int(through.sendmsg(sock, buffers, ancdata, flags, address))
            address = found
        return originals.sendmsg(sock, buffers, ancdata, flags, address)

    def _permitted(self, sock: _socket.socket, address: Any) -> Any:
        """``address``, or the one to use in its place; None where the datagram takes the chain.

        Raises:
            PermissionError: nothing may be sent there.
        """
        found = target(sock, address)
        if found is None:
            return address
        verdict = self._runtime.verdict(found, datagram=True)
        if verdict.kind == DIRECT:
            return with_host(address, verdict.literal, verdict.destination.port)
        proto = originals.family_type_proto(sock)[2] if originals.is_datagram(sock) else -1
        refusal = self._runtime.no_datagrams(verdict, proto)
        try:
            if refusal is not None:
                raise refusal
        finally:
            # The traceback has this frame, as in ``connecting``.
            del refusal
        return None


def _is_stream(sock: _socket.socket, address: Any, flags: Any) -> bool:
    """Whether ``sock`` is of TCP, and Linux ignores the address: not so with TCP Fast Open."""
    if not originals.is_tcp(sock):
        return False
    if not isinstance(flags, int) or flags & _socket.MSG_FASTOPEN:
        return False
    # A malformed address has no target. It is not ignored: C raises TypeError for it.
    return target(sock, address) is not None
