"""A connect() that may block, or has a timeout: the tunnel is opened in the calling thread.

It works on another descriptor of the program's socket. Another thread may close the program's meanwhile, and
the number may be another file then.
"""

from __future__ import annotations

from time import monotonic

from pywrap.intercept import originals
from pywrap.intercept.own import Own
from pywrap.intercept.sockets import inode
from pywrap.intercept.tcp.placeholder import take_place
from pywrap.intercept.tcp.unconnected import unconnected
from pywrap.tunnel.attempt import wait_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from pywrap.intercept.runtime import Runtime
    from pywrap.tunnel.routes import Verdict


def open_blocking(
    runtime: Runtime,
    sock: _socket.socket,
    peer: tuple[Any, ...],
    verdict: Verdict,
    timeout: float | None,
) -> None:
    """Open a tunnel on the program's own socket. ``timeout``: seconds, that of the socket, None for none.

    Raises:
        SocksError: a proxy is not reachable, or refuses.
        TimeoutError: ``timeout`` is over.
    """
    started = monotonic()
    fd = originals.fileno(sock)
    number = inode(fd)
    real = Own.duplicate(sock, number)
    # The same open file as the program's socket, and so the same mode, until it is restored below.
    real.setblocking(False)
    try:
        attempt = runtime.attempt(real, verdict, runtime.deadline(timeout or None))
        connected = wait_for(attempt, originals.poll)
    except BaseException:
        # A handshake may be half done.
        fresh = unconnected(real)
        fresh.setblocking(timeout is None)
        take_place(fresh, fd, number)
        raise
    else:
        name = runtime.name_of(attempt, sock, peer)
        connected.setblocking(timeout is None)
        if connected is real:
            runtime.registry.establish(number, peer, name)
        else:
            runtime.registry.establish(inode(connected.fileno()), peer, name)
            take_place(connected, fd, number)
    finally:
        real.close()
    runtime.opened(verdict, attempt.path, started)
