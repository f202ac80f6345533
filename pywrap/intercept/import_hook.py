"""Is told when certain modules are imported, so that a program which never does pays nothing.

A finder at the front of ``sys.meta_path`` that finds nothing itself: for ``socket`` it lets the others find
the module and wraps the loader. It stays there, for ``importlib.reload(socket)``. Whoever imports ``_socket``
alone gets ``socket`` imported behind it: what is replaced, is replaced then. ``select`` is a module of its
own: a program may make an epoll object, and import ``socket`` later.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# They make the locks of the import system green: native threads that import the same module then wait for
# one another for ever. We have to be complete before.
GREEN = frozenset({"eventlet", "gevent"})

# Their sockets are their own (``unsupported``).
FOREIGN = frozenset(
    {
        *("confluent_kafka", "curl_cffi", "grpc", "MySQLdb", "primp", "psycopg", "psycopg2", "pycares"),
        *("pycurl", "pymssql", "pyodbc", "uvloop", "zmq", "gevent.resolver.cares"),
    }
)

SELECT = "select"

# These keep something of ``socket`` (``trio``, ``multiprocessing``), or would hand on a placeholder address
# (``socks_libraries``).
TRIO = "trio._socket"
SOCKS_LIBRARIES = frozenset(
    {"socks", *(f"python_socks._protocols.{name}" for name in ("http", "socks4", "socks5"))}
)
# Starts children (``spawn``).
FORK_EXEC = "_posixsubprocess"
# Makes interpreters (``interpreters``); before 3.13 it had the other name.
INTERPRETERS = frozenset({"_interpreters", "_xxsubinterpreters"})
KEEPERS = frozenset({TRIO, "multiprocessing.reduction", FORK_EXEC, *SOCKS_LIBRARIES})

# These have nothing of ``socket``.
WITHOUT_SOCKETS = INTERPRETERS | {FORK_EXEC, SELECT}
LOADED = KEEPERS | INTERPRETERS | {"socket", "_socket", SELECT}

_finder: Finder | None = None


def install(
    expected: Callable[[], None], imported: Callable[[Any], None], announced: Callable[[str], None]
) -> None:
    """Have ``imported(module)`` called whenever ``socket``, ``select``, or one of ``KEEPERS``, was executed.

    ``expected()`` is called before that. ``announced(name)`` is called before a module of ``GREEN`` or
    ``FOREIGN`` is executed, once it is found, and may raise ModuleNotFoundError; ``socket`` has been imported
    then.
    """
    global _finder
    _finder = Finder(expected, imported, announced)
    sys.meta_path.insert(0, _finder)


def uninstall() -> None:
    """Stop it. May be called twice."""
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
        is_announced = name in GREEN or name in FOREIGN
        if not is_announced and name not in LOADED:
            return None
        for finder in sys.meta_path:
            if finder is self:
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if is_announced:
                    # Not when it is not installed: eventlet tries what there is.
                    import socket  # noqa: F401

                    self._announced(name)
                elif spec.loader is not None:
                    # What is expected of us needs these itself, or it is not needed.
                    expected = _nothing if name == "_socket" or name in WITHOUT_SOCKETS else self._expected
                    told = _import_socket if name == "_socket" else self._imported
                    spec.loader = Loader(spec, expected, told)  # type: ignore[assignment]
                return spec
        return None


def _nothing() -> None:
    pass


def _import_socket(_: Any) -> None:
    if "socket" not in sys.modules:
        import socket  # noqa: F401


class Loader:
    """Loads a module as its own loader does, and tells."""

    def __init__(self, spec: Any, expected: Callable[[], None], imported: Callable[[Any], None]) -> None:
        self._spec = spec
        self._loader = spec.loader
        self._expected = expected
        self._imported = imported

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        # inspect and linecache ask the loader for the source.
        self._spec.loader = module.__loader__ = self._loader
        try:
            self._expected()
        except ImportError as err:
            _end(err)
        self._loader.exec_module(module)
        # What a signal handler raises would leave the module half patched.
        mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        try:
            self._imported(module)
        except BaseException as err:
            _end(err)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _end(err: BaseException) -> None:
    """The program could catch ``err``, and go on with a half-patched module: its traffic would leave."""
    line = f"pysocksify: error: cannot patch the socket module: {err!r}\n"
    os.write(2, line.encode("utf-8", "backslashreplace"))
    os._exit(125)
