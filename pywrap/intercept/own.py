"""Sockets of ours, at numbers that the program may close: os.closerange() and its like know no owners.

The number may be a file of the program's then, which is neither closed nor talked to by us.
"""

from __future__ import annotations

import sys

from pywrap.intercept import originals
from pywrap.intercept.sockets import inode, is_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable


class Own(originals.Socket):
    """As the C class, with the arguments of that."""

    __slots__ = ("_inode",)

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:
        # Not known yet.
        self._inode = -1
        super().__init__(family, type, proto, fileno)
        self._inode = inode(originals.fileno(self))

    def is_lost(self) -> bool:
        """Has the program closed it?"""
        fd = originals.fileno(self)
        return fd >= 0 and self._inode >= 0 and not is_open(fd, self._inode)

    def close(self) -> None:
        if self.is_lost():
            self.detach()
        originals.close(self)

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """In the place of C's, which would close the number. At the end of all, the kernel does."""
        if not is_finalizing():
            self.close()


def own(sock: _socket.socket) -> Own:
    """The same descriptor as an object of this class; ``sock`` has none any more."""
    return Own(*originals.family_type_proto(sock), fileno=sock.detach())
