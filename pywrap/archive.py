"""Loads our modules, whose code is in one file for each stage of a run: an archive.

Python looks for a module in folders and reads a file of its own for each: some 15 system calls and 0.1 ms,
where executing it takes a tenth of that. So the launcher writes the code of those that are needed together
(``pywrap.launch.archives``) beside their .pyc, where only a user may write that may change the modules.
With it is the time and the size of its source, as in a .pyc: a module that has changed since, or is in no
archive, is loaded as Python loads it.

The finders of ``sys.meta_path`` are not called for our modules: one of the program's may open connections.
Nor does ``sys.modules`` need to have them: one may take them out, and empty the paths of packages (pex).
A module enters ``sys.modules`` after its execution (``pywrap.intercept.loading`` has why); a package before.

Executed before all other modules of ours, and not by itself: so without the import of ``__future__``.
"""

import builtins
import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import (
    MAGIC_NUMBER,
    PathFinder,
    SourceFileLoader,
    cache_from_source,
    spec_from_file_location,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, TypeAlias

    # Of a module: its file, below FOLDER; the time (ns) and the size of that; its code.
    Entry: TypeAlias = tuple[str, int, int, CodeType]

_PACKAGE = "pywrap"
_OURS = _PACKAGE + "."
FOLDER = os.path.dirname(os.path.abspath(__file__))

# The entries of the archives that were read whose module is not loaded yet, by its name.
_entries: "dict[str, Entry]" = {}
# The names of what has been executed here.
loaded: list[str] = []
# All modules of ours by their names, and where those of a package are.
_modules: "dict[str, Any]" = {}
_folders: dict[str, list[str]] = {}
# The stages whose archive was read.
_read: set[str] = set()
# The stages whose archive is not there, and the modules whose code in it is not that of their file.
missing: list[str] = []


def path_of(stage: str) -> str:
    """The file of the archive of ``stage`` for this interpreter; "" where it keeps no .pyc files."""
    if sys.implementation.cache_tag is None:
        return ""
    # In the folder that Python itself would choose, which the user may have moved.
    return cache_from_source(os.path.join(FOLDER, "archive.py")).removesuffix("pyc") + stage


def read(stage: str) -> None:
    """Have the modules of ``stage`` at hand, if there is an archive of it."""
    if stage in _read:
        return
    try:
        fd = os.open(path_of(stage), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        # There is none yet, or this user may not read it: each module is in its own file as well.
        missing.append(stage)
        return
    _read.add(stage)
    try:
        data = os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)
    folder, entries = "", {}
    if data.startswith(MAGIC_NUMBER):
        try:
            # Not a slice of the bytes: a copy of 340 KB has 80 pages.
            folder, entries = marshal.loads(memoryview(data)[len(MAGIC_NUMBER) :])
        except (EOFError, ValueError, TypeError):
            # The machine went down when it was written.
            pass
    # Of another bytecode, or of a folder that was moved, it is not used.
    if folder == FOLDER:
        take(stage, entries)
    else:
        missing.append(stage)


def take(stage: str, entries: "dict[str, Entry]") -> None:
    """The same for an archive that was read by ``launch/startup/sitecustomize``."""
    _read.add(stage)
    _entries.update(entries)


def known(name: str) -> "Any":
    """The module ``name`` of ours; None when it has not been executed."""
    return sys.modules.get(name) or _modules.get(name)


def keep() -> None:
    """Remember the modules of ours that the import system has executed."""
    for name in [name for name in list(sys.modules) if name.startswith(_PACKAGE) and name not in _modules]:
        if name == _PACKAGE or name.startswith(_OURS):
            _remember(name, sys.modules[name])


def _remember(name: str, module: "Any") -> None:
    _modules[name] = module
    if hasattr(module, "__path__"):
        _folders.setdefault(name, list(module.__path__))


def too_late(name: str) -> OSError:
    """The error for a module that was not loaded before Python began to shut down."""
    # ECANCELED: the module errno cannot be imported now.
    return OSError(125, f"Python is shutting down, and {name} of pysocksify was not loaded before")


def load(name: str) -> "Any":
    """The module ``name`` of ours, completely executed.

    Raises:
        OSError: Python shuts down.
    """
    module = known(name)
    if module is not None:
        return module
    if sys.is_finalizing():
        raise too_late(name)
    parent, _, own = name.rpartition(".")
    package = load(parent) if parent else None
    found = _from_archive(name) or _from_file(name, package)
    if found is None:
        # The program was frozen (PyInstaller): its modules are neither in files nor in an archive.
        __import__(name)
        return sys.modules[name]
    spec, code = found
    module = _module(spec)
    if spec.submodule_search_locations is not None:
        # One that imports its modules; they import it, and get nothing of it until it is complete.
        module = sys.modules.setdefault(name, module)
    exec(code, vars(module))
    # One step of C code: the first that has executed the module.
    module = sys.modules.setdefault(name, module)
    if package is not None:
        setattr(package, own, module)
    _remember(name, module)
    _entries.pop(name, None)
    loaded.append(name)
    return module


def _module(spec: "Any") -> "Any":
    """The module of ``spec``, not yet executed, as ``importlib.util.module_from_spec`` makes it.

    That takes five times as long, most of it for ``__cached__``: the .pyc file, which is not used here.
    """
    module = type(sys)(spec.name)
    attributes = vars(module)
    attributes["__spec__"] = spec
    attributes["__loader__"] = spec.loader
    attributes["__package__"] = spec.parent
    attributes["__file__"] = spec.origin
    attributes["__builtins__"] = _builtins
    if spec.submodule_search_locations is not None:
        attributes["__path__"] = spec.submodule_search_locations
    return module


def _from_archive(name: str) -> "tuple[Any, Any] | None":
    entry = _entries.get(name)
    if entry is None:
        return None
    file, time, size, code = entry
    path = os.path.join(FOLDER, file)
    try:
        status = os.stat(path)
    except OSError:
        # Without its source, a module is found as Python finds it, or not at all.
        return None
    if status.st_mtime_ns != time or status.st_size != size:
        missing.append(name)
        return None
    spec = ModuleSpec(name, SourceFileLoader(name, path), origin=path)
    spec.has_location = True
    if file.endswith("__init__.py"):
        spec.submodule_search_locations = [os.path.dirname(path)]
    return spec, code


def _from_file(name: str, package: "Any") -> "tuple[Any, Any] | None":
    if package is None:
        spec = spec_from_file_location(
            name, os.path.join(FOLDER, "__init__.py"), submodule_search_locations=[FOLDER]
        )
    else:
        spec = PathFinder.find_spec(name, _folders.get(package.__name__) or package.__path__)
    get_code = getattr(None if spec is None else spec.loader, "get_code", None)
    code = None if get_code is None else get_code(name)
    return None if code is None else (spec, code)


def import_other(name: str, *args: "Any") -> "Any":
    """__import__() of a module that is not ours; ``pywrap.intercept.loading`` puts its own here."""
    return builtins.__import__(name, *args)


# For ``from __future__ import annotations``, which is done when a module is compiled: the import of that
# module would be for nothing.
_Names: "Any" = type(sys.implementation)
_FUTURE = _Names(annotations=None)


def _import(
    name: str, globals: "Any" = None, locals: "Any" = None, fromlist: "Any" = (), level: int = 0
) -> "Any":
    """__import__() of our modules, which import one another by their whole names."""
    if name == "__future__" and fromlist:
        return _FUTURE
    if level or not fromlist or not (name + ".").startswith(_OURS):
        return import_other(name, globals, locals, fromlist, level)
    module = load(name)
    for each in fromlist:
        if not hasattr(module, each):
            load(f"{name}.{each}")
    return module


# From 3.15 on, ``-X lazy_imports=all`` has imports take the second name. Ours are made at once: a module that
# is imported at its first use may be needed when no descriptor is left, or in a signal handler.
_builtins = {**vars(builtins), "__import__": _import, "__lazy_import__": _import}
