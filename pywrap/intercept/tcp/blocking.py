"""A connect() that blocks, or has a timeout: the handshake runs on the program's own socket, in its thread.

When it fails, the program gets an unconnected socket back, so that it cannot write into half a handshake.
"""

from __future__ import annotations

import os
from time import monotonic

from pywrap.intercept import originals
from pywrap.intercept.own_socket import Own
from pywrap.intercept.sockets import inode, is_open
from pywrap.intercept.tcp.unconnected import unconnected

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from pywrap.intercept.runtime import Runtime
    from pywrap.tunnel.routes import Verdict


def connect_here(
    runtime: Runtime,
    sock: _socket.socket,
    peer: tuple[Any, ...],
    verdict: Verdict,
) -> None:
    """Connect ``sock`` through the chain of ``verdict``, within its timeout. ``peer`` is for getpeername().

    Raises:
        SocksError: a proxy is not reachable, or refuses.
        TimeoutError: the program's own timeout ended.
    """
    started = monotonic()
    begun = runtime.begin()
    registry, timeout = runtime.registry, originals.gettimeout(sock)
    fd = originals.fileno(sock)
    number = inode(fd)
    real = Own(*originals.family_type_proto(sock), fileno=os.dup(fd))
    try:
        registry.connecting.add(number)
        # The same open file as the program's socket, and so the same mode, until ``_settle`` restores it.
        real.setblocking(False)
        attempt = runtime.attempt(real, verdict, runtime.deadline(timeout or None), begun)
        connected = runtime.wait_for(attempt)
    except BaseException as err:
        # A handshake may be half done.
        _settle(unconnected(real), sock, fd, number)
        if runtime.log is not None and begun is not None:
            runtime.log.failed(begun, verdict, err)
        raise
    else:
        if runtime.log is not None and begun is not None:
            runtime.log.opened(begun, verdict, connected)
        name = runtime.name_of(attempt, sock, peer)
        registry.establish(connected.fileno(), peer, name)
        _settle(connected, sock, fd, number)
    finally:
        registry.connecting.discard(number)
        real.close()
    runtime.opened(verdict, attempt.path, started)


def _settle(sock: _socket.socket, program: _socket.socket, fd: int, number: int) -> None:
    """Make ``fd``, whose inode is ``number``, be ``sock``, inherited as before, in the mode of ``program``.

    That is its present mode: a signal handler may have changed it during the connect().
    """
    sock.setblocking(originals.gettimeout(program) is None)
    # Another thread may have closed it meanwhile, and the number may be another file.
    if is_open(fd, number) and inode(sock.fileno()) != number:
        os.dup2(sock.fileno(), fd, os.get_inheritable(fd))
    sock.close()
