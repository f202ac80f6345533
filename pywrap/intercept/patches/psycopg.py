"""psycopg 3: each attempt to connect goes by a port that is forwarded (``forward``).

psycopg has looked the names up before, so ``hostaddr`` is one address or a placeholder. The connection
through the chain is made first, so that psycopg reports its failure. No event loop is blocked.

A query is cancelled by another connection to the same port. libpq makes it in one call, and psycopg's C code
holds the GIL during that call: our thread could never carry the bytes. So cancel() calls cancel_safe(), which
waits in Python code.
"""

from __future__ import annotations

import _socket
import errno
import os
import sys

from pywrap.intercept.forward import libpq
from pywrap.intercept.forward.forwarder import is_forwarded
from pywrap.intercept.own_socket import Own

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from pywrap.intercept.forward.forwarder import Forward
    from pywrap.intercept.patching import Patches
    from pywrap.intercept.runtime import Runtime

# ``psycopg.waiting.Wait``: the value by which a generator says that it waits for writability.
_WAIT_W = 2

# Seconds after which a signal is noticed at the latest.
_INTERVAL = 0.1


def install(patches: Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Patch ``module``, of psycopg. ``current()``: the runtime, or None."""
    if module.__name__ == "psycopg._connection_base":
        patches.replace(module.BaseConnection, "cancel", _cancel(module.BaseConnection.cancel))
        return
    original = module.connect

    def connect(conninfo: str, *args: Any, **options: Any) -> Generator[Any, Any, Any]:
        runtime = current()
        if runtime is None:
            return (yield from original(conninfo, *args, **options))
        return (yield from _connect(runtime, module, original, conninfo, args, options))

    patches.replace(module, "connect", connect)


def _cancel(original: Callable[[Any], None]) -> Callable[[Any], None]:
    def cancel(self: Any) -> None:
        if not self._should_cancel():
            return
        if not is_forwarded((self.pgconn.hostaddr or b"").decode()):
            original(self)
            return
        if not sys.modules["psycopg._capabilities"].capabilities.has_cancel_safe():
            error = sys.modules["psycopg.errors"].NotSupportedError
            raise error("pysocksify: to cancel a query, psycopg needs libpq 17 here")
        sys.modules["psycopg.waiting"].wait_conn(self._cancel_gen(), interval=_INTERVAL)

    return cancel


def _connect(
    runtime: Runtime, module: Any, original: Any, conninfo: str, args: Any, options: Any
) -> Generator[Any, Any, Any]:
    texts = sys.modules["psycopg.conninfo"]
    error = module.e.OperationalError
    parameters = texts.conninfo_to_dict(conninfo)
    hosts = libpq.to_forward(runtime, parameters, error)
    if not hosts:
        return (yield from original(conninfo, *args, **options))
    forwards: list[Forward | None] = []
    try:
        for host, where, port in hosts:
            ready = None
            if libpq.is_direct(runtime, where, port):
                forwards.append(None)
                continue
            if len(hosts) == 1:
                try:
                    ready = yield from _connected(where, port)
                except OSError as err:
                    place = libpq.described(host, where, port)
                    raise error(f"connection failed: {place} failed: {err.strerror}") from err
            forwards.append(libpq.forward(runtime, where, port, ready))
        text = texts.make_conninfo(**libpq.forwarded(parameters, hosts, forwards))
        made = yield from original(text, *args, **options)
    except BaseException:
        libpq.close(forwards)
        raise
    libpq.settle(forwards)
    return made


def _connected(host: str, port: int) -> Generator[Any, Any, Own]:
    """A socket that is connected as the program's own would be."""
    import socket

    with socket.socket(_socket.AF_INET6 if ":" in host else _socket.AF_INET) as sock:
        sock.setblocking(False)
        number = sock.connect_ex((host, port))
        if number in (errno.EINPROGRESS, errno.EAGAIN):
            while not (yield sock.fileno(), _WAIT_W):
                pass
            number = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        fd = sock.detach()
        return Own(_socket.AF_INET, _socket.SOCK_STREAM, 0, fd)
