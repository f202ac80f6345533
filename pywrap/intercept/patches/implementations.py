"""Every function that replaces one of ``socket`` and decides about traffic, for one ``Runtime``.

Each is loaded at its first call. So a program without network traffic imports none of them, and a program
that only opens connections imports nothing of UDP and BIND.
"""

from __future__ import annotations

from pywrap.intercept.loading import load
from pywrap.intercept.runtime import Runtime

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Settings
    from pywrap.intercept.registry import SocketRegistry

_CONNECT = "pywrap.intercept.patches.connecting"
_SENDTO = "pywrap.intercept.patches.sendto"
_LISTEN = "pywrap.intercept.patches.listen"
_GETADDRINFO = "pywrap.intercept.patches.getaddrinfo"

_MODULES = {
    **dict.fromkeys(("bind", "connect", "connect_ex"), _CONNECT),
    **dict.fromkeys(("sendmsg", "sendto"), _SENDTO),
    "listen": _LISTEN,
    **dict.fromkeys(
        ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo"), _GETADDRINFO
    ),
}

# Modules that the functions load only in some cases, in the target process.
_RARE = (
    *("pywrap.intercept.audit", "pywrap.intercept.multicast", "pywrap.intercept.unsupported"),
    *(
        "pywrap.intercept.source_routes",
        "pywrap.intercept.tcp.nonblocking",
        "pywrap.intercept.udp.datagram_methods",
        "pywrap.socks.http",
    ),
    *("pywrap.socks.v4", "pywrap.tunnel.association", "pywrap.tunnel.background", "pywrap.tunnel.binding"),
    *("pywrap.tunnel.liveness", "pywrap.tunnel.pipelining", "pywrap.tunnel.pipelining_probe"),
    *("pywrap.tunnel.resolver", "pywrap.tunnel.retry_policy"),
)


class Functions(dict[str, "Callable[..., Any]"]):
    """The implementations by the names of the functions, each loaded at its first look-up."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime = runtime

    def __missing__(self, name: str) -> Callable[..., Any]:
        for each, function in load(_MODULES[name]).functions(self._runtime).items():
            # Should a signal handler make one as well, the first that was made stays.
            self.setdefault(each, function)
        return self[name]


def new_runtime(settings: Settings, registry: SocketRegistry) -> Runtime:
    """A ``Runtime`` with its ``functions``."""
    return Runtime(settings, registry, Functions)


def complete() -> None:
    """Load everything: gevent and eventlet are about to replace the locks of the import system."""
    for name in (*_MODULES.values(), *_RARE):
        load(name)
