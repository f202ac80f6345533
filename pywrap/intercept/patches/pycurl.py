"""pycurl: libcurl connects and looks names up in C, but it can be told to use a SOCKS proxy.

A class derived from Curl sets that option: each transfer goes to a port of ours on loopback (``forward``),
which speaks SOCKS5 and connects as the program's own sockets do. Redirects and TLS stay libcurl's own. An
HTTP proxy of the program's own is reached in this way as well. Other traffic (UDP, a SOCKS proxy of the
program's own) gets no socket.

The error of libcurl for a proxy that refuses is replaced by the one for a failed connection.
"""

from __future__ import annotations

import errno
import os
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM

from pywrap.intercept import originals
from pywrap.intercept.forward.forwarder import Forward, connected, is_forwarded
from pywrap.intercept.forward.library_dialogue import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.own_socket import Own
    from pywrap.intercept.patching import Patches
    from pywrap.intercept.runtime import Runtime

# CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_CONNECT and CURLE_PROXY of curl.h.
_NOT_RESOLVED, _NOT_CONNECTED, _PROXY = 6, 7, 97

# Options that the program cannot change while the patches are in force.
_KEPT = ("PRE_PROXY", "NOPROXY", "OPENSOCKETFUNCTION")


def install(patches: Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Replace ``Curl`` and ``CurlMulti`` in ``module``, pycurl. ``current()``: the runtime, or None."""
    curl = _curl_class(module, current)
    patches.replace(module, "CurlMulti", _multi_class(module.CurlMulti, curl))
    patches.replace(module, "Curl", curl)


def _curl_class(module: Any, current: Callable[[], Runtime | None]) -> Any:
    kept = {getattr(module, name) for name in _KEPT}
    # The port of each process, by its pid: only that of the present process is used.
    ports: dict[int, Forward] = {}

    def port() -> str:
        pid = os.getpid()
        if pid not in ports:
            ports.clear()
            ports[pid] = Forward(lambda client: _serve(client, current))
        host, number = ports[pid].address
        return f"socks5h://{host}:{number}"

    class Curl(module.Curl):  # type: ignore[misc]
        def cover_by_pysocksify(self) -> None:
            """Before a transfer."""
            if current() is not None:
                super().setopt(module.PRE_PROXY, port())
                # Without this, hosts in $no_proxy would be direct.
                super().setopt(module.NOPROXY, "")
                super().setopt(module.OPENSOCKETFUNCTION, lambda _, address: _socket_for(module, address))

        def setopt(self, option: int, value: Any) -> Any:
            return None if current() is not None and option in kept else super().setopt(option, value)

        def unsetopt(self, option: int) -> Any:
            return None if current() is not None and option in kept else super().unsetopt(option)

        def _perform(self, perform: Callable[..., Any], args: Any) -> Any:
            self.cover_by_pysocksify()
            try:
                return perform(*args)
            except module.error as err:
                number, text, *rest = err.args
                raise type(err)(_meaning(number, text), text, *rest) from None

        def perform(self) -> Any:
            return self._perform(super().perform, ())

        def perform_rb(self, *args: Any) -> Any:
            return self._perform(super().perform_rb, args)

        def perform_rs(self, *args: Any) -> Any:
            return self._perform(super().perform_rs, args)

    return _named(Curl, module.Curl)


def _multi_class(base: Any, curl: Any) -> Any:
    class CurlMulti(base):  # type: ignore[misc]
        def add_handle(self, handle: Any) -> Any:
            if isinstance(handle, curl):
                handle.cover_by_pysocksify()
            return super().add_handle(handle)

        def info_read(self, *args: Any) -> Any:
            left, good, bad = super().info_read(*args)
            return left, good, [(handle, _meaning(number, text), text) for handle, number, text in bad]

    return _named(CurlMulti, base)


def _named(cls: Any, base: Any) -> Any:
    cls.__name__ = cls.__qualname__ = base.__name__
    cls.__module__ = base.__module__
    return cls


def _meaning(number: int, text: str) -> int:
    """The error that libcurl would report without a proxy, where ``number`` is an error of a proxy."""
    if number != _PROXY:
        return number
    return _NOT_RESOLVED if text.rstrip().endswith("(1)") else _NOT_CONNECTED


def _socket_for(module: Any, address: Any) -> Any:
    """The socket by which libcurl connects to ``address``: only to our port, or to a Unix socket."""
    family, kind, proto, place = tuple(address)[:4]
    is_ours = kind & ~SOCK_CLOEXEC == SOCK_STREAM and isinstance(place, tuple) and is_forwarded(str(place[0]))
    if family == AF_UNIX or is_ours:
        return originals.Socket(family, kind | SOCK_CLOEXEC, proto)
    return module.SOCKET_BAD


def _serve(client: Own, current: Callable[[], Runtime | None]) -> Own:
    runtime = current()
    if runtime is None:
        raise OSError(errno.ECONNABORTED, "pywrap was uninstalled")
    return serve(client, lambda host, port: connected(runtime, host, port))
