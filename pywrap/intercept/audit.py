"""The checks of the audit hook, which refuses traffic that has not come through the patches.

Code that has kept the C class, or a function from before the patches, bypasses the patches, but not the hook.
The hook does not know its caller. It decides by the same verdicts as the patches, and lets only traffic pass
that may leave this machine directly.

The hook itself is in the package's ``__init__``, since it must cost little and cannot be removed.
"""

from __future__ import annotations

import errno

from pywrap.intercept.addresses import host_text, target
from pywrap.intercept.originals import is_inet
from pywrap.tunnel.routes import DIRECT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.runtime import Runtime


def check(runtime: Runtime, event: str, args: tuple[Any, ...]) -> None:
    """Check one audit event.

    Raises:
        PermissionError: the call that the event announces is refused.
    """
    if not runtime.is_confined:
        # In a confinement no check is needed: the kernel passes all that bypasses the patches to the broker.
        _CHECKS[event](runtime, *args)


def _check_new(runtime: Runtime, sock: Any, family: int, kind: int, proto: int) -> None:
    # The hook calls this for no other family.
    _refuse(runtime, "AF_PACKET sockets bypass every proxy")


def _check_address(runtime: Runtime, sock: Any, address: Any) -> None:
    if address is None or not is_inet(sock):
        return
    found = target(sock, address)
    if found is None:
        _refuse(runtime, f"cannot tell where {address!r} is")
    elif not found.datagram and runtime.routes.leads_to_first_hop(found.host, found.port):
        # The connection that begins a tunnel. The verdict would refuse a proxy whose address is in the
        # network of the placeholders.
        return
    elif runtime.routes.verdict(found.host, found.port, found.ipv6, found.datagram).kind != DIRECT:
        why = f"{found.host}:{found.port} would be reached directly, past the proxy"
        _refuse(runtime, why, found.host, found.port)


def _check_name(runtime: Runtime, host: Any, *_: Any) -> None:
    name = host_text(host)
    if name and not runtime.is_literal(name) and not runtime.resolves_here(name):
        _refuse(runtime, f"the local resolver would be asked for {name}", name)


def _check_reverse(runtime: Runtime, host: Any, *_: Any) -> None:
    if runtime.settings.dns != "local":
        _refuse(runtime, f"the local resolver would be asked for the name of {host}")


def _refuse(runtime: Runtime, why: str, host: str | None = None, port: int | None = None) -> None:
    runtime.messages.say(1, f"refused: {why}")
    if runtime.log is not None:
        runtime.log.refused(errno.EPERM, why, host, port)
    raise OSError(errno.EPERM, f"pysocksify refused: {why}")


_CHECKS: dict[str, Callable[..., None]] = {
    "socket.__new__": _check_new,
    "socket.connect": _check_address,
    "socket.sendto": _check_address,
    "socket.sendmsg": _check_address,
    "socket.getaddrinfo": _check_name,
    "socket.gethostbyname": _check_name,
    "socket.gethostbyaddr": _check_reverse,
    "socket.getnameinfo": _check_reverse,
}
