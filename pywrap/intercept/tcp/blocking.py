"""A connect() that blocks, or has a timeout: the handshake runs on the program's own socket, in its thread.

For a socket without a timeout, our code calls the methods of the program's own socket object: if another
thread or a signal handler closes it, the object has no descriptor any more, and the calls fail. The methods
of a socket object with a timeout would wait themselves, so our code uses another descriptor of the same file.
It does so as well for every socket where something unusual happens (``tcp.straight``): the program may close
its own descriptor meanwhile, and the number may then be another file. When the tunnel fails, the program gets
an unconnected socket back, so that it cannot write into half a handshake.
"""

from __future__ import annotations

import _socket
import os
from time import monotonic

from pywrap.intercept import originals
from pywrap.intercept.hand_over import take_place
from pywrap.intercept.own_socket import Own
from pywrap.intercept.socket_inodes import inode, is_open
from pywrap.intercept.tcp.connected_errno import kernel_error, tabled_error
from pywrap.intercept.tcp.straight import HadPeer
from pywrap.intercept.tcp.unconnected import hang_up, unconnected

TYPE_CHECKING = False
if TYPE_CHECKING:
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
        OSError: EISCONN or EALREADY; ``sock`` has been connected before, or listens.
        TimeoutError: ``timeout`` is over.
    """
    started = monotonic()
    begun = runtime.begin()
    registry, fd = runtime.registry, originals.fileno(sock)
    number = inode(fd)
    road = runtime.road(verdict, sock)
    error = tabled_error(registry, sock, number)
    if not error and road is None:
        # Not on a straight road, where connect() of the kernel reports it.
        error = kernel_error(sock)
    if error:
        raise OSError(error, os.strerror(error))
    own = None if road is not None and timeout is None else Own.duplicate(sock, number)
    deadline = runtime.deadline(timeout or None)
    attempt = runtime.attempt(own or sock, verdict, deadline, begun, road, number)
    try:
        registry.connecting.add(number)
        if own is None:
            os.set_blocking(fd, False)
        else:
            # The mode is that of the open file, so this changes the mode of the program's socket as well.
            own.setblocking(False)
        connected = runtime.wait_for(attempt)
    except HadPeer as err:
        _block_again(sock, fd, timeout)
        raise OSError(err.errno, os.strerror(err.errno)) from None
    except BaseException as err:
        # The handshake may be half done.
        own = own or attempt.duplicate
        _take_back(sock, fd, number, own)
        if runtime.log is not None and begun is not None:
            runtime.log.failed(begun, verdict, err)
        raise
    else:
        if runtime.log is not None and begun is not None:
            runtime.log.opened(begun, verdict, connected)
        name = runtime.name_of(attempt, sock, peer)
        own = own or attempt.duplicate
        if connected is sock or connected is own:
            registry.establish(number, peer, name)
            _block_again(sock, fd, timeout)
        else:
            registry.establish(inode(connected.fileno()), peer, name)
            connected.setblocking(originals.gettimeout(sock) is None)
            take_place(connected, fd, number)
    finally:
        registry.connecting.discard(number)
        if own is not None:
            own.close()
    runtime.opened(verdict, attempt.path, started)


def _block_again(sock: _socket.socket, fd: int, timeout: float | None) -> None:
    """Give ``sock``, at ``fd``, the mode that it had with ``timeout``.

    A signal handler may have changed the mode meanwhile: then that stays.
    """
    if timeout is None and originals.gettimeout(sock) is None and originals.fileno(sock) == fd:
        os.set_blocking(fd, True)


def _take_back(sock: _socket.socket, fd: int, number: int, own: Own | None) -> None:
    """Give the program an unconnected socket at ``fd``. ``own`` is another descriptor of ``sock``, if any."""
    if own is None:
        if originals.fileno(sock) != fd or not is_open(fd, number):
            return
        try:
            own = Own.duplicate(sock, number)
        except OSError:
            # No descriptor is left for another socket.
            hang_up(sock)
            _block_again(sock, fd, None)
            return
    fresh = unconnected(own)
    fresh.setblocking(originals.gettimeout(sock) is None)
    take_place(fresh, fd, number)
    own.close()
