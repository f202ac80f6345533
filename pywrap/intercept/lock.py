"""The locks of the target process, and what may come in the middle of code that holds one.

**The lock.** There is one, ``SocketRegistry.lock``: for the tables, each hand-over of a descriptor, and what
``names`` and ``background`` of the floor below share among threads, which have it handed in. Two locks have
an order, and a signal handler that comes under the second and takes the first breaks it. It is
``_thread.RLock``: C code, which takes it and notes the owner in one step. A lock written in Python has a
moment between the two (bpo-13697), in which a handler of the same thread would wait for its own thread.
``_thread.allocate_lock`` is for ``Event`` alone.

Nothing waits for the network or for the background thread under it. ``Listener._turn`` is another, which one
of the threads that wait for a peer holds all the time; it is never taken under the lock by us. The first
connection loads the implementation without any lock (``loading``).

**The same thread.** A signal handler (in the main thread), and a finalizer, a weakref callback, a callback of
the garbage collector, a trace function or an audit hook (in any thread) come between any two instructions,
and may call everything that the program may. The lock lets them in. So code under a lock leaves the tables
true after each step:

* what others look for is entered first, and put to use then;
* what only one may end is taken out of its table first, and ended then;
* what must be one step is one call of C code (``dict.pop``, ``list.append``, ``next(count)``), or has no call
  in it: handlers come after calls, at the beginning of functions and at the end of loops.

What the lock cannot give: a handler that has come in the middle, and *waits* for the background thread, waits
for the lock that it has interrupted. So what it connects is opened in its own thread
(``Runtime.is_interrupted``). A handler that waits for a connection that was pending before, or for another
thread, may wait for ever.

An exception may come out of a handler at all these places (KeyboardInterrupt). ``with`` releases a lock of C
code in every case. Where something else is held, ``finally`` goes by what is (``is_mine``), and not by a
variable that the exception may have left as it was. ``__del__`` of a datagram socket enters no lock that its
own thread holds: it leaves its flow to the next holder of the lock (``FlowTable.reap``).

**Other threads** may call every function that is replaced. Between a look at a descriptor (``is_open``) and
what is then done to it, the patched close() of another thread waits for ``SocketRegistry.lock``. os.close()
and C code do not.

**A forked child** has the thread that called fork() and no other. The lock is made anew there
(``Runtime.forked``): the owner of one may be gone. The background thread, and what it had in hand, is the
parent's, where it is stopped before fork() and started again after it (``Background.park``).

**The end of the interpreter** stops the other threads wherever they are. From then on nothing is locked.

**Builds without the GIL** are refused at the start. With it, a call of C code on a dictionary, a list or a
set is one step for all threads: ``tunnel.hops``, ``tunnel.resolver`` and ``registry`` rely on that where they
take no lock.
"""

from __future__ import annotations

import _frozen_importlib
import sys

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _nothing(*_: object) -> None:
    pass


class Lock:
    """``with`` this, a thread is alone; it may take it again, also in a signal handler.

    eventlet, when it patches, replaces all RLocks that it finds in modules, dictionaries, lists and
    attributes by green ones: our own thread would then switch the program's greenlets. It does not look into
    slots. It complains on stderr of those that it has not replaced, but for those that a lock of the import
    system has.
    """

    __slots__ = ("_keeper", "_lock")

    def __init__(self) -> None:
        self._lock = originals.RLock()
        self._keeper = _frozen_importlib._ModuleLock("pysocksify")  # type: ignore[attr-defined]
        self._keeper.pysocksify = self._lock

    # Both are looked up before the lock is taken. Taking and releasing are C code then, and no handler comes
    # between them and the block.
    @property
    def __enter__(self) -> Callable[[], Any]:
        return _nothing if sys.is_finalizing() else self._lock.__enter__

    @property
    def __exit__(self) -> Callable[..., None]:
        return _nothing if sys.is_finalizing() else self._lock.__exit__

    @property
    def is_mine(self) -> bool:
        """Does this thread hold it?"""
        return bool(self._lock._is_owned())  # type: ignore[attr-defined]

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As of ``threading.RLock``. The caller releases it by what ``is_mine`` says, not by the result."""
        return bool(self._lock.acquire(blocking, timeout))

    def release(self) -> None:
        """Undo one ``acquire``."""
        self._lock.release()


class Event:
    """Something that happens once. Any number may wait, one in the middle of another as well."""

    __slots__ = ("_bells", "_happened")

    def __init__(self, happened: bool = False) -> None:
        self._happened = happened
        # Each is a lock that is held until it happens. One for all would have to be passed on, and who is
        # interrupted before that would leave it locked.
        self._bells: list[Any] = []

    def wait(self, timeout: float | None) -> None:
        """Block until it happens, ``timeout`` seconds at most."""
        bell = originals.allocate_lock()
        bell.acquire()
        self._bells.append(bell)
        if not self._happened:
            bell.acquire(True, -1 if timeout is None else timeout)

    def set(self) -> None:
        """It happens."""
        self._happened = True
        while True:
            try:
                bell = self._bells.pop()
            except IndexError:
                return
            bell.release()
