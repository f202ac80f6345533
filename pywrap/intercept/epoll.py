"""select.epoll, also as selectors.EpollSelector holds it: registrations follow a hand-over.

A registration belongs to the open file, not to the number. When a tunnel's socket takes the place of
its placeholder (``nonblocking``), whoever registered the descriptor would be told of the old file, and
``modify`` would fail with ENOENT: tornado and Twisted die of that. So we know what each epoll object
has registered, and register it again for the new file.

``select.epoll`` cannot be subclassed. ``poll`` stays the interpreter's own method.

There is no lock, which a signal handler could meet in its own thread. What an epoll object is to have
(``_events``) is noted before the kernel is told, and the thread that hands over compares it with what it has
registered until they agree. What the program does between ``leave`` and ``rejoin`` is noted, and told then.
"""

from __future__ import annotations

import _weakref
import errno
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from pywrap.intercept.patching import Patches

    # A mask, in an object that no other registration is.
    Registration: TypeAlias = list[int]

Real = select.epoll

# The objects in use, by id.
_alive: dict[int, Any] = {}

# The descriptors between ``leave`` and ``rejoin``.
_moving: set[int] = set()


def install(patches: Patches, module: Any) -> None:
    """Replace ``epoll`` in ``module``, which is ``select``; nothing happens when that is done."""
    if module.epoll is Epoll:
        return
    patches.replace(module, "epoll", Epoll)
    selectors: Any = sys.modules.get("selectors")
    if hasattr(selectors, "EpollSelector"):
        # Bound when that was imported.
        patches.replace(selectors.EpollSelector, "_selector_cls", Epoll)


class Epoll:
    """As ``select.epoll``, which see."""

    __slots__ = ("__weakref__", "_events", "_real", "poll")

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._adopt(Real(sizehint, flags))

    @classmethod
    def fromfd(cls, fd: int) -> Epoll:
        self = cls.__new__(cls)
        self._adopt(Real.fromfd(fd))
        return self

    def _adopt(self, real: Any) -> None:
        self._real = real
        self._events: dict[int, Registration] = {}
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
        number = _number(fd)
        before = self._events.get(number)
        if before is not None and number in _moving:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._note(self._real.register, number, eventmask)

    def modify(self, fd: Any, eventmask: int) -> None:
        self._note(self._real.modify, _number(fd), eventmask)

    def unregister(self, fd: Any) -> None:
        number = _number(fd)
        before = self._events.pop(number, None)
        try:
            self._real.unregister(number)
        except FileNotFoundError:
            if before is None or number not in _moving:
                raise

    def _note(self, take_error: Any, fd: int, eventmask: int) -> None:
        before = self._events.get(fd)
        self._events[fd] = noted = [eventmask]
        try:
            take_error(fd, eventmask)
        except FileNotFoundError:
            # modify() on the way from one file to the other: ``rejoin`` tells the kernel.
            if before is None or fd not in _moving:
                self._take_back(fd, noted, before)
                raise
        except BaseException:
            self._take_back(fd, noted, before)
            raise

    def _take_back(self, fd: int, noted: Registration, before: Registration | None) -> None:
        if self._events.get(fd) is noted:
            if before is None:
                del self._events[fd]
            else:
                self._events[fd] = before

    def _leave(self, fd: int) -> None:
        noted = self._events.get(fd)
        try:
            self._real.unregister(fd)
        except (OSError, ValueError):
            # Closing a descriptor unregisters it unseen, and closing the epoll all of them: what we
            # have noted is of an earlier file. Unless another thread has noted it just now.
            if self._events.get(fd) is noted:
                self._events.pop(fd, None)

    def _rejoin(self, fd: int) -> None:
        noted = self._events.get(fd)
        while noted is not None:
            try:
                self._real.register(fd, noted[0])
            except (OSError, ValueError):
                # The program was faster, or has closed the epoll.
                return
            told, noted = noted, self._events.get(fd)
            if noted is told:
                return
            # The program has changed its mind while the kernel was told.
            try:
                self._real.unregister(fd)
            except (OSError, ValueError):
                return

    def __enter__(self) -> Epoll:
        self._real.__enter__()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


Epoll.__name__ = Epoll.__qualname__ = "epoll"
Epoll.__module__ = "select"


def leave(fd: int) -> None:
    """Take ``fd``, which is about to be another file, out of every epoll that has it, until ``rejoin``."""
    _moving.add(fd)
    for epoll in _with(fd):
        epoll._leave(fd)


def is_registered(fd: int) -> bool:
    """Has an epoll object of Python's ``fd``?"""
    return any(reference() is not None and fd in reference()._events for reference in list(_alive.values()))


def rejoin(fd: int) -> None:
    """Register ``fd``, by now another file, where it is to be."""
    for epoll in _with(fd):
        epoll._rejoin(fd)
    _moving.discard(fd)


def _with(fd: int) -> list[Epoll]:
    found = [reference() for reference in list(_alive.values())]
    return [epoll for epoll in found if epoll is not None and fd in epoll._events]


def forked() -> None:
    """In a child after fork(): a thread that was handing over is not here."""
    _moving.clear()


def _number(fd: Any) -> int:
    if isinstance(fd, int):
        return fd
    try:
        fileno = fd.fileno
    except AttributeError:
        # In the words of C.
        raise TypeError("argument must be an int, or have a fileno() method.") from None
    return int(fileno())
