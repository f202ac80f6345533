"""The locks of the target process: their order, and what may interrupt code that holds one.

**The lock.** There is one, ``SocketRegistry.lock``. It guards the tables, each hand-over of a descriptor, and
what ``tunnel.placeholders`` and ``tunnel.background`` share among threads (they have it handed in). With two
locks there would be an order, and a signal handler that interrupts code under the second and takes the first
would break it. It is ``_thread.RLock``, which is C code and takes the lock and notes the owner in one step. A
lock written in Python has a moment between the two (bpo-13697), in which a handler of the same thread would
wait for its own thread. ``_thread.allocate_lock`` is for ``Event`` alone.

Nothing waits for the network, or for the background thread, while it holds the lock (``released``).
``Accepting._turn`` is another lock, which one of the threads that wait for a peer holds all the time. It is
never taken under the lock. The first connection loads the implementation without any lock (``loading``).

**The same thread.** A signal handler (in the main thread), and a finalizer, a weakref callback, a callback of
the garbage collector, a trace function or an audit hook (in any thread) may run between any two instructions,
and may call everything that the program may. The lock lets them in, since it is reentrant. So code under a
lock leaves the tables consistent after each step:

* what a handler has to find is entered in its table first, and put to use then;
* what only one caller may end is taken out of its table first, and ended then;
* what must be one step is one call of C code (``dict.pop``, ``list.append``, ``next(count)``), or contains no
  call: handlers run after calls, at the beginning of functions and at the end of loops;
* a loop over a table goes over a copy (``d.copy()``, ``list(d.values())``). ``list(d.items())`` is not one
  step: it makes tuples, and the collector of 3.11, with the finalizers of the program, may run at each.

A handler that has interrupted code under the lock, and then *waits* for the background thread or for another
thread, would wait for a thread that waits for the lock. So ``released`` gives up the lock until the wait is
over. Other threads then see the tables as the interrupted code has left them, which is consistent, and change
them, as the handler might itself. What the handler connects is opened in its own thread
(``Runtime.is_interrupted``): it may wait for that by select(), which is not replaced, and so cannot release
the lock. For the same reason, a handler still waits until its own time-out if it calls select() for a
connection that was pending when it interrupted code under the lock.

An exception may come out of a handler at all these places (KeyboardInterrupt). ``with`` releases a lock of C
code in every case. Where something else is held, ``finally`` goes by what is held (``is_mine``), and not by a
variable that the exception may have left as it was. ``__del__`` of a datagram socket enters no lock that its
own thread holds: it leaves its flow to the next holder of the lock (``FlowTable.reap``).

**A blocking connect()** holds no lock while it waits. The handshake runs on the program's own socket, and a
handler or another thread may use that meanwhile. ``SocketRegistry.connecting`` has it, so that connect() is
EALREADY and getpeername() ENOTCONN, as of the kernel's. What is sent or received on it goes to the proxy, and
breaks the handshake: send() and recv() are C's.

**Other threads** may call every function that is replaced. Between a look at a descriptor (``is_open``) and
what is then done to it, the patched close() of another thread waits for ``SocketRegistry.lock``. os.close()
and C code do not.

**A forked child** has the thread that called fork() and no other. The lock is made anew there
(``Runtime.forked``), since the thread that held it may not exist. The background thread, and the connections
that it was making, are the parent's. There it is stopped before fork() and started again after it
(``Background.park``).

**The end of the interpreter** stops the other threads wherever they are. From then on nothing is locked.

**Builds without the GIL** are refused at the start, or confined without the patches. With it, a call of C
code on a dictionary, a list or a set is one step for all threads: ``tunnel.hops``, ``tunnel.resolver`` and
``registry`` rely on that where they take no lock.
"""

from __future__ import annotations

import _frozen_importlib
import sys

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")


def _nothing(*_: object) -> None:
    pass


class Lock:
    """A reentrant lock, for ``with``.

    When eventlet patches, it replaces all RLocks that it finds in modules, dictionaries, lists and attributes
    by green ones. Our background thread would then switch the program's greenlets. eventlet does not look
    into slots. On stderr it complains of each RLock that it has not replaced, except where it finds the RLock
    in a lock of the import system: hence ``_keeper``.
    """

    __slots__ = ("_keeper", "_lock")

    def __init__(self) -> None:
        self._lock = originals.RLock()
        self._keeper = _frozen_importlib._ModuleLock("pysocksify")  # type: ignore[attr-defined]
        self._keeper.pysocksify = self._lock

    # ``with`` looks both up before it takes the lock. To take it and to release it are calls of C code then:
    # no signal handler runs between them and the block.
    @property
    def __enter__(self) -> Callable[[], Any]:
        return _nothing if sys.is_finalizing() else self._lock.__enter__

    @property
    def __exit__(self) -> Callable[..., None]:
        return _nothing if sys.is_finalizing() else self._lock.__exit__

    @property
    def is_mine(self) -> bool:
        """Whether this thread holds the lock."""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As of ``threading.RLock``; ``timeout`` in seconds. Release it if ``is_mine``, not by the result."""
        return bool(self._lock.acquire(blocking, timeout))

    def release(self) -> None:
        """Undo one ``acquire``."""
        self._lock.release()

    def released(self, wait: Callable[[], T]) -> T:
        """Call ``wait()``, which blocks, and return its result; other threads can take the lock meanwhile.

        This thread holds it only if a signal handler calls this that has interrupted code under the lock. It
        has the lock again, as often as before, at the end.
        """
        if not self.is_mine or sys.is_finalizing():
            return wait()
        lock: Any = self._lock
        taken: list[tuple[int, Any]] = []
        try:
            # One call of C code releases the lock and notes how often it was taken: an exception out of a
            # handler between the two would lose that number. zip() calls _release_save() once.
            taken.extend(zip((0,), iter(lock._release_save, None), strict=False))
            return wait()
        finally:
            if taken:
                lock._acquire_restore(taken.pop()[1])


class Event:
    """Something that happens once. Any number of threads may wait for it, and their signal handlers."""

    __slots__ = ("_bells", "_happened")

    def __init__(self, happened: bool = False) -> None:
        self._happened = happened
        # For each caller of ``wait``, a lock that is held until it happens. One lock for all would have to be
        # passed on from caller to caller, and one that an exception interrupts would not pass it on.
        self._bells: list[Any] = []

    def wait(self, timeout: float | None) -> None:
        """Block until it has happened, ``timeout`` seconds at most; None: without a limit."""
        bell = originals.allocate_lock()
        bell.acquire()
        self._bells.append(bell)
        if not self._happened:
            bell.acquire(True, -1 if timeout is None else timeout)

    def set(self) -> None:
        """Wake up all that wait: it has happened."""
        self._happened = True
        while True:
            try:
                bell = self._bells.pop()
            except IndexError:
                return
            bell.release()
