"""``Own``: the class of our own sockets, which notice when the program has closed their descriptor.

A program may close our descriptors, for example by os.closerange(). The number may then be a file of the
program's, which we must neither close nor write to.

The program's setdefaulttimeout() is for its own sockets. C's constructor would apply it to ours as well.
Calls of our sockets would then wait, also in an event loop; and the file of a descriptor that the constructor
is given would become non-blocking (O_NONBLOCK), for the program too.
"""

from __future__ import annotations

import _socket
import os
import sys

from pywrap.intercept import originals
from pywrap.intercept.socket_inodes import inode, is_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Own(originals.Socket):
    """A socket of ours. The arguments are those of the C class ``_socket.socket``."""

    __slots__ = ("_inode",)

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        # Set first, for ``__del__``: the constructor below may raise.
        self._inode = -1
        _construct(self, family, type, proto, fileno)
        self._inode = inode(originals.fileno(self))

    @property
    def number(self) -> int:
        """The inode of the socket."""
        return self._inode

    @classmethod
    def duplicate(cls, sock: _socket.socket, number: int) -> Own:
        """An ``Own`` with another descriptor of the file of ``sock``, whose inode is ``number``."""
        self = cls.__new__(cls)
        self._inode = number
        _construct(self, *originals.family_type_proto(sock), os.dup(originals.fileno(sock)))
        return self

    def is_lost(self) -> bool:
        """Whether the program has closed the descriptor."""
        fd, number = originals.fileno(self), self._inode
        return fd >= 0 and number >= 0 and not is_open(fd, number)

    def close(self) -> None:
        """Close the descriptor, unless the number is another file by now."""
        if self.is_lost():
            self.detach()
        originals.close(self)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """In the place of C's, which would close the number whatever it is. At exit, the kernel closes it."""
        if not is_finalizing():
            self.close()


def _construct(sock: Own, family: int, type: int, proto: int, fileno: int | None) -> None:
    """C's constructor, without the program's default timeout."""
    if _socket.getdefaulttimeout() is None:
        originals.Socket.__init__(sock, family, type, proto, fileno)
        return
    # With SOCK_NONBLOCK, C's constructor does not change the mode of the file of ``fileno``.
    originals.Socket.__init__(sock, family, type | _socket.SOCK_NONBLOCK, proto, fileno)
    if not type & _socket.SOCK_NONBLOCK and (fileno is None or os.get_blocking(fileno)):
        originals.setblocking(sock, True)


def fresh() -> Own:
    """A new IPv4 socket for a ``TunnelAttempt``, which replaces it if the proxy has no IPv4 address."""
    sock = Own(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    return sock


def own(sock: _socket.socket) -> Own:
    """An ``Own`` with the descriptor of ``sock``, which is detached."""
    return Own(*originals.family_type_proto(sock), fileno=sock.detach())
