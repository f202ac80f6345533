"""Libraries that have sockets of their own in C, where no patch reaches: refused, or not in silence.

Three are refused as if they were not installed, since nearly all programs that use them work without:

* uvloop connects and resolves by libuv; asyncio's own loops are covered;
* pycares (aiodns) asks name servers over UDP; aiohttp then uses getaddrinfo(). It may when names are
  resolved here anyway;
* gevent's resolver of that kind, likewise; its usual one calls getaddrinfo() in a thread.

Of the others, a line on stderr says what becomes of their traffic: whether it may is the user's choice. In a
confinement, all of them are covered by the kernel.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.intercept.runtime import Runtime

REFUSED = {
    "uvloop": "uvloop connects and resolves past the proxy; asyncio's own event loops are covered",
    "pycares": "pycares asks name servers past the proxy",
    "gevent.resolver.cares": "gevent's `ares` asks name servers past the proxy; its `thread` is covered",
}


def check(runtime: Runtime, name: str) -> None:
    """Look at a module that is about to be imported.

    Raises:
        ModuleNotFoundError: it must not be.
    """
    if runtime.is_confined:
        # The kernel sees to their sockets.
        return
    if name in REFUSED:
        if name != "uvloop" and runtime.settings.dns == "local":
            return
        runtime.messages.say(1, f"refused: {REFUSED[name]}")
        raise ModuleNotFoundError(f"pysocksify refused: {REFUSED[name]}", name=name)
    what = "what it sends leaves directly, unseen (--confine on sends it through the proxies)"
    runtime.messages.say(0, f"warning: {name} has sockets of its own: {what}")
