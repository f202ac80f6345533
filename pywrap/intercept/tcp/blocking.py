"""A connect() that blocks, or has a timeout: the handshake runs on the program's own socket, in its thread.

It works on another descriptor of the program's socket: another thread may close the program's meanwhile, and
the number may be another file then. When it fails, the program gets an unconnected socket back, so that it
cannot write into half a handshake.
"""

from __future__ import annotations

from time import monotonic

from pywrap.intercept import originals
from pywrap.intercept.hand_over import take_place
from pywrap.intercept.own_socket import Own
from pywrap.intercept.sockets import inode
from pywrap.intercept.tcp.unconnected import unconnected

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
    """Connect ``sock`` through the chain of ``verdict``. ``peer`` is for getpeername().

    ``timeout``: seconds, that of the socket; None for none.

    Raises:
        SocksError: a proxy is not reachable, or refuses.
        TimeoutError: ``timeout`` is over.
    """
    started = monotonic()
    begun = runtime.begin()
    registry, fd = runtime.registry, originals.fileno(sock)
    number = inode(fd)
    real = Own.duplicate(sock, number)
    try:
        registry.connecting.add(number)
        # The same open file as the program's socket, and so the same mode, until it is restored below.
        real.setblocking(False)
        attempt = runtime.attempt(real, verdict, runtime.deadline(timeout or None), begun)
        connected = runtime.wait_for(attempt)
    except BaseException as err:
        # A handshake may be half done.
        fresh = unconnected(real)
        _restore_mode(fresh, sock)
        take_place(fresh, fd, number)
        if runtime.log is not None and begun is not None:
            runtime.log.failed(begun, verdict, err)
        raise
    else:
        if runtime.log is not None and begun is not None:
            runtime.log.opened(begun, verdict, connected)
        name = runtime.name_of(attempt, sock, peer)
        _restore_mode(connected, sock)
        if connected is real:
            registry.establish(number, peer, name)
        else:
            registry.establish(inode(connected.fileno()), peer, name)
            take_place(connected, fd, number)
    finally:
        registry.connecting.discard(number)
        real.close()
    runtime.opened(verdict, attempt.path, started)


def _restore_mode(sock: _socket.socket, program: _socket.socket) -> None:
    """Give ``sock`` the present mode of ``program``: a signal handler may have changed it meanwhile."""
    sock.setblocking(originals.gettimeout(program) is None)
