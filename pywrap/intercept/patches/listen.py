"""socket.listen(): here, at the last proxy (``--listen bind``), or on loopback alone (``--listen block``).

A socket listens at the proxy when the system is to choose its port (0), and other machines could connect to
it. The package ``bind`` does the rest.
"""

from __future__ import annotations

import _socket
import errno

from pywrap.intercept import originals
from pywrap.intercept.bind.eligibility import is_for_the_proxy, is_local
from pywrap.socks.wire import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.registry import Listener
    from pywrap.intercept.runtime import Runtime


def functions(runtime: Runtime) -> dict[str, Callable[..., Any]]:
    """listen() under ``runtime``."""
    return {"listen": Listening(runtime).listen}


class Listening:
    """listen() under ``runtime``; ``sock`` is its own ``self``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._new_listener: Callable[[Runtime, _socket.socket], Listener] | None = None
        if runtime.settings.listen == "bind":
            # Not imported on top, for programs that do not need it; and not later, when gevent may have
            # replaced the locks of the import system.
            from pywrap.intercept.bind import listener, listener_methods

            self._new_listener = listener.Listener
            self._classes = listener_methods.listener_classes(runtime.registry)

    def listen(self, sock: _socket.socket, /, *backlog: Any) -> None:
        """listen([backlog])."""
        runtime = self._runtime
        if runtime.settings.listen == "block" and not is_local(sock):
            why = f"{_name(sock)} refused: listening for others than this machine is blocked (--listen)"
            runtime.messages.say(1, why)
            if runtime.log is not None:
                runtime.log.refused(errno.EPERM, why, protocol="tcp")
            raise OSError(errno.EPERM, why)
        if self._new_listener is None or not is_for_the_proxy(runtime, sock):
            originals.listen(sock, *backlog)
            if runtime.log is not None:
                runtime.log.listens_here(sock)
            return None
        registry, fd = runtime.registry, originals.fileno(sock)
        with registry.lock:
            listener = registry.listener_of(fd) or self._new_listener(runtime, sock)
            try:
                self._classes.put_on(sock)
            except TypeError:
                # C code has made the socket, of a class from which none can be derived: it keeps C's methods.
                pass
        try:
            listener.begin(sock)
        finally:
            if registry.listener_of(fd) is None:
                # The socket does not listen, so a later connect() must find C's methods.
                self._classes.take_off(sock)
        return None


def _name(sock: _socket.socket) -> Endpoint:
    host, port = originals.getsockname(sock)[:2]
    return Endpoint(host, port)
