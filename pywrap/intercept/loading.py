"""Imports modules of ours, so that a signal handler in the middle of that can import them as well.

The first connection imports the implementation. A signal handler, a finalizer or a trace function may
interrupt that and connect as well, in the same thread. It cannot wait, and it must not get a module that is
half executed, as the import system would give it. So a module enters ``sys.modules`` after its execution, not
before (which works because no module of ours imports itself in a circle). The handler executes all modules
that are missing. The interrupted import finds them in ``sys.modules`` then, and drops its own.

Another thread waits for the one that loads, so that a hundred threads that connect at once do not execute
everything a hundred times. But not for ever: the one that loads may be interrupted by a handler that waits
for the other.

The finders of ``sys.meta_path`` are not called for our modules: one of the program's may open connections.
Nor does ``sys.modules`` need to have them: one may take them out, and empty the paths of packages (pex).

While Python shuts down, ``sys.modules`` is empty and nothing can be imported, but finalizers of the program
run and use sockets: they get what was executed before (``_modules``), or an OSError.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import builtins
import sys
from _frozen_importlib import module_from_spec
from _frozen_importlib_external import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OURS = "pywrap."

# How many loads may be in the middle of each other in a thread, with no module completed in between. An audit
# hook that connects whenever a file is opened would interrupt each load by another one, without end.
_ATTEMPTS = 16

# Seconds that a thread waits for another one that loads. Loading takes a hundredth of that.
_PATIENCE = 1.0

# The names of what has been executed here.
_loaded: list[str] = []
# All modules of ours by their names, and where those of a package are.
_modules: dict[str, Any] = {}
_folders: dict[str, list[str]] = {}
_here = _thread._local()
# Held by the thread that loads. Not an RLock: eventlet replaces those by its own.
_turn = _thread.allocate_lock()
_owner = 0


def load(name: str) -> Any:
    """The module ``name`` of ours, completely executed.

    Raises:
        OSError: this thread is in the middle of that too many times; or Python shuts down.
    """
    module = known(name)
    if module is not None:
        return module
    if sys.is_finalizing():
        raise _too_late(name)
    turn = _take_turn()
    try:
        return _load_alone(name)
    finally:
        if turn is not None:
            _end_turn(turn)


def known(name: str) -> Any:
    """The module ``name`` of ours; None when it has not been executed."""
    return sys.modules.get(name) or _modules.get(name)


def keep() -> None:
    """Remember the modules of ours that the import system has executed."""
    for name, module in list(sys.modules.items()):
        if (name + ".").startswith(_OURS):
            _remember(name, module)


def _remember(name: str, module: Any) -> None:
    _modules[name] = module
    if hasattr(module, "__path__"):
        _folders.setdefault(name, list(module.__path__))


def forked() -> None:
    """In a child after fork(): the thread that loads may be the parent's."""
    global _turn, _owner
    if _owner != _thread.get_ident():
        _turn, _owner = _thread.allocate_lock(), 0


def _take_turn() -> Any:
    """Wait until no other thread loads. The lock that this thread has then; None when it has none."""
    global _turn, _owner
    if _owner == _thread.get_ident():
        # In the middle of that.
        return None
    turn = _turn
    if not turn.acquire(True, _PATIENCE):
        # No thread waits for that one any more. It may never end, or was ended between two lines of this.
        if turn is _turn:
            _turn = _thread.allocate_lock()
        return None
    _owner = _thread.get_ident()
    return turn


def _end_turn(turn: Any) -> None:
    global _owner
    if _owner == _thread.get_ident():
        _owner = 0
    turn.release()


def _load_alone(name: str) -> Any:
    before, then = getattr(_here, "attempts", (0, -1))
    now = len(_loaded)
    attempts = before + 1 if now == then else 1
    if attempts > _ATTEMPTS:
        # Here, because each import at the start of a program costs time (tests/test_no_tax.py).
        import errno

        raise OSError(errno.EDEADLK, "a connection was opened by what watches pysocksify being loaded for it")
    _here.attempts = attempts, now
    # The load of a signal handler is not interrupted by the next signal: a timer could send signals faster
    # than handlers load.
    is_second = before > 0
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals()) if is_second else None
    try:
        return _load(name)
    finally:
        _here.attempts = before, then
        if mask is not None:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _too_late(name: str) -> OSError:
    # ECANCELED: the module errno cannot be imported now.
    return OSError(125, f"Python is shutting down, and {name} of pysocksify was not loaded before")


def _load(name: str) -> Any:
    found = known(name)
    if found is not None:
        return found
    if sys.is_finalizing():
        raise _too_late(name)
    parent, _, own = name.rpartition(".")
    package = _load(parent)
    spec = PathFinder.find_spec(name, _folders.get(parent) or package.__path__)
    code = None if spec is None else _code(spec)
    if spec is None or code is None:
        # The program was frozen (PyInstaller): its modules are neither in files nor in an archive.
        __import__(name)
        return sys.modules[name]
    module = module_from_spec(spec)
    vars(module)["__builtins__"] = _builtins
    exec(code, vars(module))
    # One step of C code: the first that has executed the module.
    module = sys.modules.setdefault(name, module)
    setattr(package, own, module)
    _remember(name, module)
    _loaded.append(name)
    return module


def _code(spec: Any) -> Any:
    get_code = getattr(spec.loader, "get_code", None)
    return None if get_code is None else get_code(spec.name)


def _import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    """__import__() of our modules, which import one another by their whole names."""
    if level or not fromlist or not (name + ".").startswith(_OURS):
        return builtins.__import__(name, globals, locals, fromlist, level)
    module = _load(name)
    for each in fromlist:
        if not hasattr(module, each):
            _load(f"{name}.{each}")
    return module


# From 3.15 on, ``-X lazy_imports=all`` has imports take the second name. Ours are made at once: a module that
# is imported at its first use may be needed when no descriptor is left, or in a signal handler.
_builtins = {**vars(builtins), "__import__": _import, "__lazy_import__": _import}
