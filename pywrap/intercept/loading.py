"""Imports modules of ours, so that a signal handler in the middle of that can import them as well.

The first connection imports the implementation. A signal handler, a finalizer or a trace function may
interrupt that import and connect as well, in the same thread. It cannot wait, and it must not get a module
that is half executed, as the import system would give it. So a module enters ``sys.modules`` after its
execution, not before (which works because no module of ours imports itself in a circle). The handler executes
all modules that are missing. The interrupted import then finds these in ``sys.modules``, and drops its own.

Another thread waits for the thread that loads, so that a hundred threads that connect at once do not execute
every module a hundred times. But not for ever: a handler that interrupts the loading thread may itself wait
for the other thread.

While Python shuts down, ``sys.modules`` is empty and nothing can be imported, but finalizers of the program
run and use sockets: they get what was executed before, or an OSError.

Signals are blocked during some of these steps (``block``), but not while code of the program runs, which may
connect and wait for ever: its finders, when a module is imported that is not ours, and its audit hooks
(``add_audit_hook``). Audit hooks that were added before ``pywrap.install()`` run with signals blocked when
our code causes an event.

How a module is found and executed is in ``pywrap.archive``.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import builtins
import sys

from pywrap import archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# How many loads may be nested in a thread without a completed module. An audit hook that connects whenever a
# file is opened would interrupt each load by another one, without end.
_ATTEMPTS = 16

# Seconds that a thread waits for another thread that loads. Loading takes a hundredth of that.
_PATIENCE = 1.0

_here = _thread._local()
# gevent and eventlet replace it by a green one later.
_allocate_lock = _thread.allocate_lock
# Held by the thread that loads. Not an RLock: eventlet replaces those by its own.
_turn = _allocate_lock()
_owner = 0
_add_audit_hook = sys.addaudithook


def load(name: str, stage: str = "") -> Any:
    """The module ``name`` of ours, completely executed.

    ``stage``: the archive with this module and others that will be needed soon; "" if it was read before.

    Raises:
        OSError: too many loads are nested in this thread; or Python shuts down.
    """
    module = archive.known(name)
    if module is not None:
        return module
    if sys.is_finalizing():
        raise archive.too_late(name)
    turn = _take_turn()
    try:
        return _load_alone(name, stage)
    finally:
        if turn is not None:
            _end_turn(turn)


def forked() -> None:
    """In a child after fork(): the thread that loads may be the parent's."""
    global _turn, _owner
    if _owner != _thread.get_ident():
        _turn, _owner = _allocate_lock(), 0


def _take_turn() -> Any:
    """Wait until no other thread loads. Return the lock that this thread now has; None when it has none."""
    global _turn, _owner
    if _owner == _thread.get_ident():
        # This thread is loading already, and has been interrupted.
        return None
    turn = _turn
    if not turn.acquire(True, _PATIENCE):
        # A new lock, so that no thread waits for that thread any more: it may never end, or have ended
        # without releasing the lock.
        if turn is _turn:
            _turn = _allocate_lock()
        return None
    _owner = _thread.get_ident()
    return turn


def _end_turn(turn: Any) -> None:
    global _owner
    if _owner == _thread.get_ident():
        _owner = 0
    turn.release()


def _load_alone(name: str, stage: str) -> Any:
    before, then = getattr(_here, "attempts", (0, -1))
    now = len(archive.loaded)
    attempts = before + 1 if now == then else 1
    if attempts > _ATTEMPTS:
        # Here, because each import at the start of a program costs time (tests/test_no_tax.py).
        import errno

        raise OSError(errno.EDEADLK, "a connection was opened by what watches pysocksify being loaded for it")
    _here.attempts = attempts, now
    # The load of a signal handler is not interrupted by the next signal: a timer could send signals faster
    # than handlers load.
    is_second = before > 0
    masks = block() if is_second else None
    try:
        if stage:
            archive.read(stage)
        return archive.load(name)
    finally:
        _here.attempts = before, then
        if masks is not None:
            unblock(masks)


def block() -> tuple[Any, Any]:
    """Block all signals in this thread, except while code of the program runs.

    The result is for ``unblock``.
    """
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    before = getattr(_here, "mask", None)
    _here.mask = mask if before is None else before
    return mask, before


def unblock(masks: tuple[Any, Any]) -> None:
    """Undo one ``block``."""
    mask, _here.mask = masks
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _unblocked(function: Any, *args: Any) -> Any:
    """Call code of the program, with only those signals blocked that the program has blocked."""
    mask = getattr(_here, "mask", None)
    if mask is None:
        return function(*args)
    _here.mask = None
    blocked = _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
    try:
        return function(*args)
    finally:
        _here.mask = mask
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)


def _import_other(name: str, *args: Any) -> Any:
    """__import__() of a module that is not ours."""
    function = builtins.__import__
    return function(name, *args) if name in sys.modules else _unblocked(function, name, *args)


def add_audit_hook(hook: Any) -> None:
    """Replaces sys.addaudithook(): ``hook`` runs with only those signals blocked that the program blocks."""

    def unblocking(event: str, args: Any) -> None:
        _unblocked(hook, event, args)

    try:
        # The interpreter reads this attribute of the hook: whether a debugger may trace the hook.
        unblocking.__cantrace__ = hook.__cantrace__  # type: ignore[attr-defined]
    except AttributeError:
        pass
    _add_audit_hook(unblocking)


def restore_audit_hooks() -> None:
    """Undo the replacement of sys.addaudithook()."""
    if sys.addaudithook is add_audit_hook:
        sys.addaudithook = _add_audit_hook


add_audit_hook.__name__ = add_audit_hook.__qualname__ = "addaudithook"
add_audit_hook.__doc__ = _add_audit_hook.__doc__
archive.import_other = _import_other
