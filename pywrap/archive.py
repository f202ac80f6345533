"""Loads our modules from archives: files with the code of all modules that a stage of a run needs.

Python searches folders for each module and reads a file for it: some 15 system calls and 0.1 ms, where
executing the module takes a tenth of that. So the launcher writes the code of modules that are needed
together into one file (``pywrap.launch.archives``) beside their .pyc files, into a folder that only users can
change who can change the modules. With each module is the time and the size of its source, as in a .pyc: a
module that has changed since, or is in no archive, is loaded as Python loads it.

The finders of ``sys.meta_path`` are not called for our modules, since a finder of the program may open
connections. Nor need our modules stay in ``sys.modules``: a program may remove them, and empty the paths of
packages (pex). A module enters ``sys.modules`` after its execution (``pywrap.intercept.loading`` has the
reason); a package before.

This module is executed before all our other modules, so it cannot load them, and does not import
``__future__``.
"""

import builtins
import marshal
import os
import sys
from _frozen_importlib import BuiltinImporter, ModuleSpec, module_from_spec
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

    # One module: its file, below FOLDER; the time (ns) and the size of that file; its code.
    Entry: TypeAlias = tuple[str, int, int, CodeType]

_PACKAGE = "pywrap"
_OURS = _PACKAGE + "."
FOLDER = os.path.dirname(os.path.abspath(__file__))

_BUILTIN = type(len)


def _copy_of_os() -> "Any":
    kept = vars(os).copy()
    copy = type(sys)(f"{_PACKAGE}'s os")

    def find(name: str) -> "Any":
        try:
            value: Any = kept[name]
        except KeyError:
            raise AttributeError(f"module 'os' has no attribute {name!r}") from None
        if type(value) is _BUILTIN:
            # Not the C function, but its __call__: pyfakefs looks for C functions by their names, in all
            # modules, and replaces them.
            value = value.__call__  # type: ignore[operator]
        setattr(copy, name, value)
        return value

    vars(copy)["__getattr__"] = find
    return copy


# A copy of ``os`` as it was when this module was executed (see ``_as_it_was``).
_os = _copy_of_os()

# The entries of archives that were read, by the names of their modules, until these are loaded.
_entries: "dict[str, Entry]" = {}
# By stage: the contents of its archive, until they are added to ``_entries``.
_unpacked: "dict[str, tuple[Any, dict[str, Entry]]]" = {}
# The names of the modules that were executed here.
loaded: list[str] = []
# All our modules by their names; and the folders of packages.
_modules: "dict[str, Any]" = {}
_folders: dict[str, list[str]] = {}
# The stages whose archive was read.
_read: set[str] = set()
# The stages without an archive, and the modules whose code in an archive is not that of their file.
missing: list[str] = []


def path_of(stage: str) -> str:
    """The file of the archive of ``stage`` for this interpreter; "" where it keeps no .pyc files."""
    if sys.implementation.cache_tag is None:
        return ""
    # In the folder that Python itself would choose for .pyc files, which the user may have moved.
    return cache_from_source(_os.path.join(FOLDER, "archive.py")).removesuffix("pyc") + stage


def read(stage: str) -> None:
    """Read the archive of ``stage``, if there is one, so that its modules can be loaded from memory."""
    if stage in _read:
        return
    if stage not in _unpacked:
        try:
            fd = _os.open(path_of(stage), _os.O_RDONLY | _os.O_CLOEXEC)
        except OSError:
            # There is no archive yet, or this user may not read it. Each module is in its own file as well.
            missing.append(stage)
            return
        try:
            data = _os.read(fd, _os.fstat(fd).st_size)
        finally:
            _os.close(fd)
        # Not a slice of the bytes: a copy of 340 KB has 80 pages.
        packed = memoryview(data)[len(MAGIC_NUMBER) :]
        try:
            if not data.startswith(MAGIC_NUMBER):
                raise ValueError("of another bytecode")
            # One call of C code, which takes a millisecond: a signal handler that loads modules as well
            # finds it done, however soon after the last signal it comes.
            _unpacked.update(zip((stage,), map(marshal.loads, (packed,)), strict=True))
        except (EOFError, ValueError, TypeError):
            # The archive is of another version, or incomplete: the machine went down when it was written.
            _unpacked[stage] = "", {}
    try:
        folder, entries = _unpacked.pop(stage)
    except KeyError:
        # A signal handler has also called ``read``, and has added the entries.
        return
    except (ValueError, TypeError):
        folder, entries = "", {}
    _read.add(stage)
    # An archive of a folder that was moved is not used.
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
        # A package that imports its modules. They import the package, and use nothing of it until it is
        # complete.
        module = sys.modules.setdefault(name, module)
    exec(code, vars(module))
    # setdefault() is one step of C code: if several have executed the module, the first one's counts.
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
    path = _os.path.join(FOLDER, file)
    try:
        status = _os.stat(path)
    except OSError:
        # The source is missing: so leave it to Python to find the module, or to fail.
        return None
    if status.st_mtime_ns != time or status.st_size != size:
        missing.append(name)
        return None
    spec = ModuleSpec(name, SourceFileLoader(name, path), origin=path)
    spec.has_location = True
    if file.endswith("__init__.py"):
        spec.submodule_search_locations = [_os.path.dirname(path)]
    return spec, code


def _from_file(name: str, package: "Any") -> "tuple[Any, Any] | None":
    if package is None:
        spec = spec_from_file_location(
            name, _os.path.join(FOLDER, "__init__.py"), submodule_search_locations=[FOLDER]
        )
    else:
        spec = PathFinder.find_spec(name, _folders.get(package.__name__) or package.__path__)
    get_code = getattr(None if spec is None else spec.loader, "get_code", None)
    code = None if get_code is None else get_code(name)
    return None if code is None else (spec, code)


def import_other(name: str, *args: "Any") -> "Any":
    """__import__() of a module that is not ours; ``pywrap.intercept.loading`` puts its own here."""
    return builtins.__import__(name, *args)


def _as_it_was(name: str) -> "Any":
    """A copy of the module ``name`` of ``_REPLACED``, in which the program has replaced nothing.

    A test of the program may replace functions for its own code: with unittest.mock, freezegun (which stops
    all clocks) or pyfakefs (whose os knows no descriptor of a socket). C's sockets are not affected by that,
    and ours must not be either. freezegun and pyfakefs look for these functions in all modules, by identity
    or by name, so our modules get copies.
    """
    module = _own.get(name)
    if module is None:
        spec = BuiltinImporter.find_spec(name)
        if spec is None or spec.loader is None:
            # The module is built as a shared library, which not every version of Python can load twice.
            return import_other(name)
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        module = _own.setdefault(name, module)
    return module


# By name: our copies of modules in which programs replace functions.
_own: "dict[str, Any]" = {"os": _os}
_REPLACED = ("os", "time")
# The modules of ours that do not get the copies: they replace functions of ``os``, or need ``os`` as the
# program has changed it.
_WITHOUT_COPIES = tuple(
    f"{_OURS}{name}"
    for name in (
        *("config.variables", "intercept.child_starts", "intercept.forward.libpq"),
        *("intercept.patches.spawn", "launch.", "programs.isolated"),
    )
)


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
    if name in _REPLACED and not globals["__name__"].startswith(_WITHOUT_COPIES):
        return _as_it_was(name)
    if level or not fromlist or not (name + ".").startswith(_OURS):
        return import_other(name, globals, locals, fromlist, level)
    module = load(name)
    for each in fromlist:
        if not hasattr(module, each):
            load(f"{name}.{each}")
    return module


# From Python 3.15 on, ``-X lazy_imports=all`` makes imports call the second name. Our imports are never lazy:
# a module that is imported at its first use may be needed when no descriptor is left, or in a signal handler.
_builtins = {**vars(builtins), "__import__": _import, "__lazy_import__": _import}
