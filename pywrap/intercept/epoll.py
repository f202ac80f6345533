"""select.epoll, also as selectors.EpollSelector holds it: registrations follow a hand-over.

A registration belongs to the open file, not to the number. When a tunnel's socket takes the place of
its placeholder (``nonblocking``), whoever registered the descriptor would be told of the old file, and
``modify`` would fail with ENOENT: tornado and Twisted die of that. So we know what each epoll object
has registered, and register it again for the new file.

``select.epoll`` cannot be subclassed. ``poll`` stays the interpreter's own method.
"""

from __future__ import annotations

import _weakref
import select
import selectors

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The objects in use, by id.
_alive: dict[int, Any] = {}


def install(patches: originals.Patches) -> None:
    patches.replace(select, "epoll", Epoll)
    # Bound when selectors was imported.
    patches.replace(selectors.EpollSelector, "_selector_cls", Epoll)


class Epoll:
    """As ``select.epoll``, which see."""

    __slots__ = ("__weakref__", "_events", "_real", "poll")

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._adopt(originals.epoll(sizehint, flags))

    @classmethod
    def fromfd(cls, fd: int) -> Epoll:
        self = cls.__new__(cls)
        self._adopt(originals.epoll.fromfd(fd))
        return self

    def _adopt(self, real: Any) -> None:
        self._real = real
        self._events: dict[int, int] = {}
        self.poll = real.poll
        number = id(self)
        _alive[number] = _weakref.ref(self, lambda _: _alive.pop(number, None))

    @property
    def closed(self) -> bool:
        return bool(self._real.closed)

    def close(self) -> None:
        self._events.clear()
        self._real.close()

    def fileno(self) -> int:
        return int(self._real.fileno())

    def register(self, fd: Any, eventmask: int = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT) -> None:
        self._real.register(fd, eventmask)
        self._events[_number(fd)] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        self._real.modify(fd, eventmask)
        self._events[_number(fd)] = eventmask

    def unregister(self, fd: Any) -> None:
        self._events.pop(_number(fd), None)
        self._real.unregister(fd)

    def __enter__(self) -> Epoll:
        self._real.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


Epoll.__name__ = Epoll.__qualname__ = "epoll"
Epoll.__module__ = "select"


def leave(fd: int) -> list[tuple[Any, int]]:
    """Take ``fd`` out of every epoll that has it; return what ``rejoin`` needs."""
    left = []
    for reference in list(_alive.values()):
        epoll = reference()
        if epoll is None or fd not in epoll._events:
            continue
        try:
            epoll._real.unregister(fd)
        except (OSError, ValueError):
            # Closing a descriptor unregisters it unseen, and closing the epoll all of them: what we
            # have noted is of an earlier file.
            epoll._events.pop(fd, None)
        else:
            left.append((epoll._real, epoll._events[fd]))
    return left


def rejoin(fd: int, left: list[tuple[Any, int]]) -> None:
    """Register ``fd``, by now another file, where it was."""
    for real, events in left:
        real.register(fd, events)


def _number(fd: Any) -> int:
    return fd if isinstance(fd, int) else int(fd.fileno())
