"""Calls us when the program imports ``socket`` and other modules to patch: without that, nothing is patched.

``Finder`` is at the front of ``sys.meta_path`` and finds nothing itself: it lets the finders behind it find
the module, and wraps the loader (``watched_import``). It stays there, for ``importlib.reload(socket)``. When
a program imports ``_socket`` alone, ``socket`` is imported as well, and patched. ``select`` is patched by
itself: a program may make an epoll object before it imports ``socket``.
"""

from __future__ import annotations

import sys

from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# These replace the locks of the import system by green ones, after which native threads that import the same
# module wait for one another for ever. All of our modules have to be imported before.
GREEN = frozenset({"eventlet", "gevent"})

# Their sockets are their own, and there is nothing in them to patch (``unsupported``).
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
        *("hf_xet", "libtorrent", "MySQLdb", "obstore", "polars", "primp", "pulsar", "pygit2", "pymssql"),
        *("pyodbc", "wreq", "zmq"),
        # pandas imports pyarrow, and none of these.
        *(f"pyarrow.{name}" for name in ("_azurefs", "_flight", "_gcsfs", "_hdfs", "_s3fs")),
    }
)

DNSPYTHON = "dns.resolver"

# Libraries whose sockets are their own as well, but which can be patched: by module, the file of ``patches``
# that replaces something in it.
SEAMS = {
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

# These keep functions of ``socket`` (``patches.trio``, ``patches.multiprocessing``), or would send a
# placeholder address to their own proxy (``socks_libraries``), or have something else replaced.
TRIO = "trio._socket"
SOCKS_LIBRARIES = frozenset(
    {"socks", *(f"python_socks._protocols.{name}" for name in ("http", "socks4", "socks5"))}
)
# Connects by itself (``patches.asyncio``).
ASYNCIO = "asyncio.selector_events"
# Starts child processes (``patches.spawn``).
FORK_EXEC = "_posixsubprocess"
# Makes interpreters (``interpreters``); before 3.13 it had the other name.
INTERPRETERS = frozenset({"_interpreters", "_xxsubinterpreters"})
KEEPERS = frozenset({TRIO, ASYNCIO, "multiprocessing.reduction", FORK_EXEC, *SOCKS_LIBRARIES, *SEAMS})

# These have nothing of ``socket``.
WITHOUT_SOCKETS = INTERPRETERS | {FORK_EXEC, SELECT}
LOADED = KEEPERS | INTERPRETERS | {"socket", "_socket", SELECT}

_finder: Finder | None = None


def install(
    expected: Callable[[], None], imported: Callable[[Any], None], announced: Callable[[str], None]
) -> None:
    """Call ``imported(module)`` each time that ``socket``, ``select`` or one of ``KEEPERS`` was executed.

    ``expected()`` is called before it is executed. ``announced(name)`` is called before a module of ``GREEN``
    or ``FOREIGN`` is executed, if it is installed; it may raise ModuleNotFoundError. ``socket`` has been
    imported then.
    """
    global _finder
    _finder = Finder(expected, imported, announced)
    sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """Undo ``install``. May be called twice."""
    global _finder
    if _finder is not None:
        sys.meta_path.remove(_finder)
        _finder = None


class Finder:
    """For ``sys.meta_path``."""

    def __init__(
        self, expected: Callable[[], None], imported: Callable[[Any], None], announced: Callable[[str], None]
    ) -> None:
        self._expected = expected
        self._imported = imported
        self._announced = announced

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """The spec of another finder with our loader, for a module that is waited for (``importlib.abc``)."""
        is_announced = name in GREEN or name in FOREIGN
        if not is_announced and name not in LOADED:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if is_announced:
                    # Only when it is installed: eventlet tries to import several libraries.
                    import socket  # noqa: F401

                    self._announced(name)
                elif spec.loader is not None:
                    watched = load("pywrap.intercept.watched_import", "socket")
                    # What is expected of us needs these itself, or it is not needed.
                    is_needed = name != "_socket" and name not in WITHOUT_SOCKETS
                    expected = self._expected if is_needed else watched.nothing
                    then = watched.import_socket if name == "_socket" else self._imported
                    spec.loader = watched.Loader(spec, expected, then)
                return spec
        return None
