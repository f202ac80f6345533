"""Calls us when the program imports ``socket`` and other modules to patch: without that, nothing is patched.

``Finder`` is at the front of ``sys.meta_path`` and finds nothing itself: it lets the finders behind it find
the module, and wraps the loader (``watched_import``). It stays there, for ``importlib.reload(socket)``. When
a program imports ``_socket`` alone, ``socket`` is imported as well, and patched. ``select`` is patched by
itself: a program may make an epoll object before it imports ``socket``.

A program may take ``_socket`` out of ``sys.modules`` (unittest.mock.patch.dict does, and so do tools that
isolate tests). When it imports ``_socket`` again it gets the same module: a new one would have another C
class, which is not patched.
"""

from __future__ import annotations

import sys

from pywrap.intercept.loading import load

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
                again = load("pywrap.intercept.watched_import", "socket").Again
                spec.loader = again(_c_module, _import_socket)
                return spec
            if spec is not None:
                if is_announced:
                    # Not before a spec is found: eventlet tries to import several libraries that may be
                    # missing.
                    import socket  # noqa: F401

                    self._announced(name)
                elif spec.loader is not None:
                    watched = load("pywrap.intercept.watched_import", "socket")
                    # ``expected`` would import these modules itself, or is not needed for them.
                    is_needed = name != "_socket" and name not in WITHOUT_SOCKETS
                    expected = self._expected if is_needed else watched.nothing
                    then = _import_socket if name == "_socket" else self._imported
                    spec.loader = watched.Loader(spec, expected, then)
                return spec
        return None


def _import_socket(module: Any) -> None:
    """After ``_socket``: import ``socket``, which is patched."""
    global _c_module
    _c_module = module
    if "socket" not in sys.modules:
        import socket  # noqa: F401
