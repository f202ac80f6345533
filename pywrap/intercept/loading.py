"""Imports modules of ours, so that a signal handler in the middle of that can import them as well.

The first connection imports the implementation. A signal handler, a finalizer or a trace function may
interrupt that and connect as well, in the same thread. It cannot wait, and it must not get a module that is
half executed, as the import system would give it. So a module enters ``sys.modules`` after its execution, not
before (which works because no module of ours imports itself in a circle). The handler executes all modules
that are missing. The interrupted import finds them in ``sys.modules`` then, and drops its own.

The finders of ``sys.meta_path`` are not called for our modules: one of the program's may open connections.
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

# The names of what has been executed here.
_loaded: list[str] = []
_here = _thread._local()


def load(name: str) -> Any:
    """The module ``name`` of ours, completely executed.

    Raises:
        OSError: this thread is in the middle of that too many times.
    """
    known = sys.modules.get(name)
    if known is not None:
        return known
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


def _load(name: str) -> Any:
    known = sys.modules.get(name)
    if known is not None:
        return known
    parent, _, own = name.rpartition(".")
    package = _load(parent)
    spec = PathFinder.find_spec(name, package.__path__)
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


_builtins = {**vars(builtins), "__import__": _import}
