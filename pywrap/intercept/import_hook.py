"""Calls us when the program imports ``socket`` and other modules to patch: without that, nothing is patched.

``Finder`` is at the front of ``sys.meta_path`` and finds nothing itself: it lets the finders behind it find
the module, and wraps the loader (``Loader``). It stays there, for ``importlib.reload(socket)``. When a
program imports ``_socket`` alone, ``socket`` is imported as well, and patched. ``select`` is patched by
itself: a program may make an epoll object before it imports ``socket``.

A program that has taken ``_socket`` out of ``sys.modules`` (unittest.mock.patch.dict does, and what isolates
tests) gets the same module again: another would have another C class, which our functions know nothing of.
"""

from __future__ import annotations

import os
import sys

from pywrap.intercept.loading import block, unblock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Libraries that replace the locks of the import system by green ones, after which native threads that import
# the same module wait for one another for ever. So all of our modules have to be imported before.
GREEN = frozenset({"eventlet", "gevent"})

# Libraries with sockets of their own, and nothing in them that could be patched (``unsupported``).
FOREIGN = frozenset(
    {
        *(
            "adbc_driver_manager",
            "av",
            "awscrt",
            "confluent_kafka",
            "curl_cffi",
            "cv2",
            "deltalake",
            "duckdb",
        ),
        *("gevent.resolver.cares", "glide", "grpc"),
        *(
            "hf_xet",
            "libtorrent",
            "MySQLdb",
            "nis",
            "obstore",
            "polars",
            "primp",
            "pulsar",
            "pygit2",
            "pymssql",
        ),
        *("pyodbc", "wreq", "zmq"),
        # Only these modules of pyarrow connect. pandas imports pyarrow without them.
        *(f"pyarrow.{name}" for name in ("_azurefs", "_flight", "_gcsfs", "_hdfs", "_s3fs")),
    }
)

DNSPYTHON = "dns.resolver"

# Libraries with sockets of their own that can be patched: for each module, the file of ``patches`` that does
# it.
SEAMS = {
    "cffi.api": "cffi",
    DNSPYTHON: "dnspython",
    "psycopg._connection_base": "psycopg",
    "psycopg.generators": "psycopg",
    "psycopg2": "psycopg2",
    "pycares": "pycares",
    "pycurl": "pycurl",
    "qh3.asyncio._transport": "qh3",
    "rloop": "rloop",
    "uvloop": "uvloop",
}

SELECT = "select"

# Modules that keep functions of ``socket`` (``patches.trio``, ``patches.multiprocessing``), that would send a
# placeholder address to a proxy of their own (``socks_libraries``), or that are patched for the reason named
# here.
TRIO = "trio._socket"
SOCKS_LIBRARIES = frozenset(
    {"socks", *(f"python_socks._protocols.{name}" for name in ("http", "socks4", "socks5"))}
)
# Connects by itself (``patches.asyncio``).
ASYNCIO = "asyncio.selector_events"
# Asks name servers by itself (``patches.green``).
EVENTLET = "eventlet.green.socket"
# Starts child processes (``patches.spawn``).
FORK_EXEC = "_posixsubprocess"
# Makes interpreters (``patches.interpreters``); before 3.13 it had the other name.
INTERPRETERS = frozenset({"_interpreters", "_xxsubinterpreters"})
KEEPERS = frozenset(
    {TRIO, ASYNCIO, EVENTLET, "multiprocessing.reduction", FORK_EXEC, *SOCKS_LIBRARIES, *SEAMS}
)

# Modules that do not import ``socket``.
WITHOUT_SOCKETS = INTERPRETERS | {FORK_EXEC, SELECT}
LOADED = KEEPERS | INTERPRETERS | {"socket", "_socket", SELECT}

# How deep calls may be nested while a module is patched, beyond the recursion limit of the program. A finder
# of the program that imports something at each import may import ``socket`` when the limit is nearly reached.
_DEPTH = 300

_finder: Finder | None = None
# ``_socket``, once it has been imported.
_c_module: Any = None


def install(
    expected: Callable[[], None], imported: Callable[[Any], None], announced: Callable[[str], None]
) -> None:
    """Call ``imported(module)`` each time that ``socket``, ``select`` or one of ``KEEPERS`` was executed.

    ``expected()`` is called before such a module is executed. ``announced(name)`` is called before a module
    of ``GREEN`` or ``FOREIGN`` that is installed is executed, after an import of ``socket``; it may raise
    ModuleNotFoundError.
    """
    global _finder, _c_module
    _finder = Finder(expected, imported, announced)
    _c_module = sys.modules.get("_socket")
    sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """Undo ``install``. May be called twice."""
    global _finder
    if _finder is not None:
        sys.meta_path.remove(_finder)
        _finder = None


class Finder:
    """The finder in ``sys.meta_path``. Its arguments are those of ``install``."""

    def __init__(
        self, expected: Callable[[], None], imported: Callable[[Any], None], announced: Callable[[str], None]
    ) -> None:
        self._expected = expected
        self._imported = imported
        self._announced = announced

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The spec that another finder has, with our loader, for a module to patch; None for all others.

        Arguments and result are those of ``importlib.abc.MetaPathFinder.find_spec``.
        """
        is_announced = name in GREEN or name in FOREIGN
        if not is_announced and name not in LOADED:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None and name == "_socket" and _c_module is not None:
                spec.loader = _Again(_c_module)  # type: ignore[assignment]
                return spec
            if spec is not None:
                if is_announced:
                    # Not before a spec is found: eventlet tries to import several libraries that may be
                    # missing.
                    import socket  # noqa: F401

                    self._announced(name)
                elif spec.loader is not None:
                    # ``expected`` would import these modules itself, or is not needed for them.
                    expected = _nothing if name == "_socket" or name in WITHOUT_SOCKETS else self._expected
                    then = _import_socket if name == "_socket" else self._imported
                    spec.loader = Loader(spec, expected, then)  # type: ignore[assignment]
                return spec
        return None


def _nothing() -> None:
    pass


def _import_socket(module: Any) -> None:
    global _c_module
    _c_module = module
    if "socket" not in sys.modules:
        import socket  # noqa: F401


class _Again:
    """A loader that gives ``module``, which is loaded."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def create_module(self, spec: Any) -> Any:
        """The module itself, as it is."""
        return self._module

    def exec_module(self, module: Any) -> None:
        """The same as at its first import."""
        _import_socket(module)


class Loader:
    """Loads a module by its own loader; calls ``expected`` before that and ``imported`` after it."""

    def __init__(self, spec: Any, expected: Callable[[], None], imported: Callable[[Any], None]) -> None:
        self._spec = spec
        self._loader = spec.loader
        self._expected = expected
        self._imported = imported

    def create_module(self, spec: Any) -> Any:
        """The module that the original loader makes."""
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        """Execute the module by the original loader, between the calls of ``expected`` and ``imported``."""
        # Restored, since inspect and linecache ask the loader for the source.
        self._spec.loader = module.__loader__ = self._loader
        sys.setrecursionlimit(sys.getrecursionlimit() + _DEPTH)
        try:
            try:
                self._expected()
            except ImportError as err:
                _end(err)
            self._loader.exec_module(module)
            # An exception out of a signal handler would leave the module half patched.
            masks = block()
            try:
                self._imported(module)
            except BaseException as err:
                _end(err, module.__name__)
            unblock(masks)
        finally:
            sys.setrecursionlimit(sys.getrecursionlimit() - _DEPTH)


def _end(err: BaseException, name: str = "socket") -> None:
    """End the process: the program could catch ``err``, and go on with a module that is half patched."""
    line = f"pysocksify: error: cannot patch the {name} module: {err!r}\n"
    os.write(2, line.encode("utf-8", "backslashreplace"))
    os._exit(125)
