"""create_server() of a loop that listens in C: resolves its host names, and applies ``--listen``.

The loop's own code would resolve the names, and listens and accepts in C, where no patch is called. So its
servers cannot listen at a proxy, and are refused where ``--listen bind`` would have them do so.
"""

from __future__ import annotations

import errno
import os

from pywrap.intercept.bind.eligibility import is_for_the_proxy
from pywrap.intercept.loops.streams import INET
from pywrap.socks.wire import is_loopback
from pywrap.tunnel.routes import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.runtime import Runtime

# AI_PASSIVE, the default of create_server().
_PASSIVE = 1


def create_server(original: Callable[..., Any], current: Callable[[], Runtime | None]) -> Callable[..., Any]:
    """A replacement for ``original``, with addresses in the place of names, and checks for ``--listen``."""

    async def create_server(
        self: Any, protocol_factory: Any, host: Any = None, port: Any = None, *args: Any, **options: Any
    ) -> Any:
        runtime = current()
        sock = options.get("sock")
        if runtime is None or (sock is not None and sock.family not in INET):
            return await original(self, protocol_factory, host, port, *args, **options)
        if sock is not None:
            _check_socket(runtime, sock)
        elif host is not None or port is not None:
            host = await _addresses(self, runtime, host, port, options)
            _check_addresses(runtime, host, port)
        return await original(self, protocol_factory, host, port, *args, **options)

    return create_server


async def _addresses(loop: Any, runtime: Runtime, host: Any, port: Any, options: dict[str, Any]) -> Any:
    """``host``, one or several, as addresses; None for all addresses of this machine."""
    hosts = [host] if host is None or isinstance(host, str) else list(host)
    found: list[Any] = []
    for each in hosts:
        if not each or runtime.is_literal(each):
            found.append(each or None)
            continue
        family, flags = options.get("family", 0), options.get("flags", _PASSIVE)
        infos = await loop.getaddrinfo(each, port, family=family, type=1, flags=flags)
        found += [info[4][0] for info in infos]
    return found


def _check_addresses(runtime: Runtime, hosts: list[Any], port: Any) -> None:
    for host in hosts:
        if host is not None and is_loopback(address_of(host) or b""):
            continue
        place = f"{host or '*'}:{port or 0}"
        if runtime.settings.listen == "block":
            why = f"{place} refused: listening for others than this machine is blocked (--listen)"
            runtime.messages.say(1, why)
            raise OSError(errno.EPERM, why)
        if runtime.settings.listen == "bind" and not port:
            _refuse_bind(runtime, place)


def _check_socket(runtime: Runtime, sock: Any) -> None:
    if runtime.settings.listen == "bind" and is_for_the_proxy(runtime, sock):
        host, port = sock.getsockname()[:2]
        _refuse_bind(runtime, f"{host}:{port}")
    if runtime.settings.listen == "block":
        # The patch of listen() decides, by the address to which the socket is bound.
        sock.listen()


def _refuse_bind(runtime: Runtime, place: str) -> None:
    why = f"{place} refused: a server of this event loop cannot listen at a proxy (--listen bind)"
    runtime.messages.say(0, why)
    raise OSError(errno.EOPNOTSUPP, f"{os.strerror(errno.EOPNOTSUPP)}: {why}")
