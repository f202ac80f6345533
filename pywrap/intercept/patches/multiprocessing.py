"""multiprocessing.reduction: a tunnel that is sent to another process takes its names along.

The kernel only knows the connection to the proxy. With a bare descriptor (socket.send_fds) no names can be
sent: getpeername() in the receiving process returns the proxy, unless that process was forked from this one
since.
"""

from __future__ import annotations

import errno

from pywrap.intercept.patching import with_state
from pywrap.intercept.socket_inodes import inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.patching import Patches
    from pywrap.intercept.registry import SocketRegistry

# The registry of this process, for sockets that arrive; None in a process that is not patched.
_registry: SocketRegistry | None = None


def install(patches: Patches, module: Any, registry: SocketRegistry) -> None:
    """Replace the reducers of sockets in ``module``, which is ``multiprocessing.reduction``."""
    global _registry
    _registry = registry
    reducers, plain = module.ForkingPickler._extra_reducers, module._reduce_socket
    # Not that of ``socket``: gevent may have put another one there since.
    cls = next(each for each, reducer in reducers.items() if reducer is plain)
    reducers[cls] = with_state(reduce, plain, _plain=plain)
    patches.remember(lambda: _undo(reducers, cls, plain))


def _undo(reducers: dict[type, Any], cls: type, plain: Any) -> None:
    global _registry
    _registry = None
    reducers[cls] = plain


def reduce(
    sock: _socket.socket, *, _plain: Callable[..., tuple[Callable[..., Any], tuple[Any, ...]]]
) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """The function and arguments that make the socket in the other process: those of ``_plain``, and names.

    Raises:
        OSError: the socket listens at a proxy (EOPNOTSUPP).
    """
    assert _registry is not None, "uninstall() takes this out of the table"
    # A method: gevent's sockets are not derived from C's.
    fd = sock.fileno()
    pending = _registry.pending_of(fd)
    if pending is not None:
        # Wait for the tunnel: the other process would get a placeholder, which no tunnel replaces there.
        pending.wait(None)
    if _registry.listener_of(fd) is not None:
        raise OSError(errno.EOPNOTSUPP, "a socket that listens at a proxy cannot be sent to another process")
    function, arguments = _plain(sock)
    number = inode(fd)
    peer = _registry.established.get(number)
    if peer is None:
        return function, arguments
    return rebuild, (function, arguments, peer, _registry.names.get(number))


def rebuild(
    function: Callable[..., _socket.socket],
    arguments: tuple[Any, ...],
    peer: tuple[Any, ...],
    name: tuple[Any, ...] | None,
) -> _socket.socket:
    """The socket that ``function`` makes of ``arguments``, with its names in the tables."""
    sock = function(*arguments)
    if _registry is not None:
        _registry.establish(inode(sock.fileno()), peer, name)
    return sock
