"""select.epoll, also as selectors.EpollSelector holds it: registrations follow a descriptor to its new file.

In the kernel a registration belongs to the open file, not to the descriptor's number. When the socket of a
tunnel takes the place of its placeholder (``tcp.nonblocking``), a poller would go on to get the events of the
placeholder, and ``modify`` would fail with ENOENT, which tornado and Twisted do not survive. So each epoll
object notes what the program has registered, and registers it again for the new file.

``select.epoll`` cannot be subclassed, so ``Epoll`` implements its methods. ``poll`` is C's own: waiting costs
nothing more.

There is no lock, because a signal handler could wait for one that its own thread holds. The events that the
program wants are noted (``_events``) before the kernel is called. If the descriptor was between ``leave`` and
``rejoin`` at any time during a call, the kernel's result for the registration means nothing, even if
``rejoin`` has ended since: only the note counts. ``rejoin`` registers the noted events, and repeats that
until note and registration agree. The call itself does the same for a descriptor that had moved before it was
noted.
"""

from __future__ import annotations

import _weakref
import errno
import os
import select
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.intercept.patching import Patches

    # The mask of events, in a list of its own: two registrations with one mask are told apart by ``is``.
    Registration: TypeAlias = list[int]

Real = select.epoll

# Weak references to the objects in use, by id().
_alive: dict[int, Any] = {}

# Functions that are called with each descriptor that has become another file. Event loops whose epoll object
# is made in C add one here.
followers: list[Callable[[int], None]] = []

# The descriptors that are between ``leave`` and ``rejoin``, and how often each has been there before.
_moving: set[int] = set()
_moves: dict[int, int] = {}


def install(patches: Patches, module: Any) -> None:
    """Replace ``epoll`` in ``module``, which is ``select``. May be called twice."""
    if getattr(module, "epoll", Epoll) is Epoll:
        # Or it is eventlet's green one, which stands in for select while modules are imported, and has none.
        return
    patches.replace(module, "epoll", Epoll)
    selectors: Any = sys.modules.get("selectors")
    if hasattr(selectors, "EpollSelector"):
        # ``selectors`` has kept a reference since it was imported.
        patches.replace(selectors.EpollSelector, "_selector_cls", Epoll)


class Epoll:
    """Implements ``select.epoll``."""

    __slots__ = ("__weakref__", "_events", "_real", "poll")

    def __init__(self, sizehint: int = -1, flags: int = 0) -> None:
        self._adopt(Real(sizehint, flags))

    @classmethod
    def fromfd(cls, fd: int) -> Epoll:
        """As ``select.epoll.fromfd``."""
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
        """As that of ``select.epoll``."""
        return bool(self._real.closed)

    def close(self) -> None:
        """As ``select.epoll.close``."""
        self._events.clear()
        self._real.close()

    def fileno(self) -> int:
        """As ``select.epoll.fileno``."""
        return int(self._real.fileno())

    def register(self, fd: Any, eventmask: int = select.EPOLLIN | select.EPOLLPRI | select.EPOLLOUT) -> None:
        """As ``select.epoll.register``; the registration is noted, for ``rejoin``."""
        number = _number(fd)
        before = self._events.get(number)
        if before is not None and number in _moving:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        self._note(self._real.register, number, eventmask)

    def modify(self, fd: Any, eventmask: int) -> None:
        """As ``select.epoll.modify``, also for a descriptor that has become another file."""
        self._note(self._real.modify, _number(fd), eventmask)

    def unregister(self, fd: Any) -> None:
        """As ``select.epoll.unregister``, also for a descriptor that is becoming another file."""
        number = _number(fd)
        moves = _moves.get(number)
        before = self._events.pop(number, None)
        try:
            self._real.unregister(number)
        except FileNotFoundError:
            if before is None or not _has_moved(number, moves):
                raise

    def _note(self, call: Any, fd: int, eventmask: int) -> None:
        moves = _moves.get(fd)
        before = self._events.get(fd)
        self._events[fd] = noted = [eventmask]
        try:
            call(fd, eventmask)
        except BaseException as err:
            # The kernel raises these for modify() after ``leave``, and for register() after ``rejoin``.
            misled = FileExistsError if before is None else FileNotFoundError
            if not isinstance(err, misled) or not _has_moved(fd, moves):
                self._take_back(fd, noted, before)
                raise
        if _has_moved(fd, moves):
            # ``leave`` removes the note of a descriptor that the kernel does not have.
            self._events.setdefault(fd, noted)
            self._rejoin(fd)

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
            # Not registered: close() of a descriptor ends its registration unseen, and close() of the epoll
            # ends all. So the note is of an earlier file, unless another thread has made it just now.
            if self._events.get(fd) is noted:
                self._events.pop(fd, None)

    def _rejoin(self, fd: int) -> None:
        noted = self._events.get(fd)
        while noted is not None:
            try:
                self._real.register(fd, noted[0])
            except (OSError, ValueError):
                # The program has registered the descriptor itself, or has closed the epoll.
                return
            done, noted = noted, self._events.get(fd)
            if noted is done:
                return
            # Another call of the program has noted other events since.
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
    """Unregister ``fd``, which is about to be another file, from all epoll objects, until ``rejoin``."""
    _moving.add(fd)
    for epoll in _with(fd):
        epoll._leave(fd)


def is_registered(fd: int) -> bool:
    """Whether an epoll object that Python code made has registered ``fd``."""
    return any(reference() is not None and fd in reference()._events for reference in list(_alive.values()))


def rejoin(fd: int) -> None:
    """Register ``fd``, which is another file now, with the epoll objects that the program wants it in."""
    for epoll in _with(fd):
        epoll._rejoin(fd)
    # In this order, so that a call finds ``fd`` in ``_moving``, or its new count in ``_moves``.
    _moves[fd] = _moves.get(fd, 0) + 1
    _moving.discard(fd)
    for follower in list(followers):
        follower(fd)


def _with(fd: int) -> list[Epoll]:
    found = [reference() for reference in list(_alive.values())]
    return [epoll for epoll in found if epoll is not None and fd in epoll._events]


def _has_moved(fd: int, moves: int | None) -> bool:
    """Whether ``fd`` was between ``leave`` and ``rejoin`` at any time since ``_moves[fd]`` was ``moves``."""
    return fd in _moving or _moves.get(fd) != moves


def forked() -> None:
    """In a child after fork(), which has no thread that is between ``leave`` and ``rejoin``."""
    _moving.clear()


def _number(fd: Any) -> int:
    if isinstance(fd, int):
        return fd
    try:
        fileno = fd.fileno
    except AttributeError:
        # The message is that of the C code.
        raise TypeError("argument must be an int, or have a fileno() method.") from None
    return int(fileno())
