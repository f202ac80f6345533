"""The errno of connect() on a stream socket that has been connected before."""

from __future__ import annotations

import _socket
import errno

from pywrap.intercept import originals
from pywrap.intercept.socket_inodes import inode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.intercept.registry import SocketRegistry

# The first byte of struct tcp_info, as in include/net/tcp_states.h.
_TCP_SYN_SENT = 2
_TCP_CLOSE = 7


def known_error(registry: SocketRegistry, sock: _socket.socket, number: int | None = None) -> int:
    """The errno for a socket that has been connected before, or listens; 0 for any other.

    ``number``: its inode, where that is known.
    """
    if number is None:
        number = inode(originals.fileno(sock))
    return tabled_error(registry, sock, number) or kernel_error(sock)


def tabled_error(registry: SocketRegistry, sock: _socket.socket, number: int) -> int:
    """As ``known_error``, as far as our tables know it; ``number``: the inode of ``sock``."""
    if number in registry.connecting:
        # Another thread is in connect(), or the code that this signal handler has interrupted.
        return errno.EALREADY
    if not registry.has_unconnected:
        return 0
    fd = originals.fileno(sock)
    failed = registry.error_of(fd)
    if failed is not None:
        return failed or errno.EALREADY
    return errno.EISCONN if registry.listener_of(fd) is not None else 0


def kernel_error(sock: _socket.socket) -> int:
    """As ``known_error``, as far as the kernel knows it."""
    try:
        state = originals.getsockopt(sock, _socket.IPPROTO_TCP, _socket.TCP_INFO, 1)[0]
    except OSError:
        # The socket is of MPTCP, on an old kernel without TCP_INFO for it.
        return _error_of_connected(sock)
    if state == _TCP_CLOSE:
        return 0
    # connect() of the kernel would not report it: after an EINPROGRESS, the next call succeeds. Twisted calls
    # connect_ex() once more after SO_ERROR.
    return errno.EALREADY if state == _TCP_SYN_SENT else errno.EISCONN


def _error_of_connected(sock: _socket.socket) -> int:
    if originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
        return errno.EISCONN
    try:
        originals.getpeername(sock)
    except OSError as err:
        if err.errno == errno.ENOTCONN:
            return 0
        raise
    return errno.EISCONN
