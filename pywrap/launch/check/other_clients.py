"""Tests a proxy that failed by two other clients, python-socks and PySocks, to see whether these get through.

Only their public API is used, and their errors are shown unchanged. They are dependencies of the
distribution, but a copy of the package may be installed without them.
"""

from __future__ import annotations

import os
from importlib import import_module
from threading import Thread
from time import monotonic
from urllib.parse import quote

from pywrap.launch.check.report import NO, UNKNOWN, YES, Finding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import Any, TypeAlias

    from pywrap.config.settings import Path, Proxy
    from pywrap.socks.wire import Endpoint

    Connect: TypeAlias = Callable[[Path, Endpoint, float], AbstractContextManager[Any]]


class NotTried(Exception):
    """The library does not support this path; the text says why."""


def ask_other_clients(path: Path, destination: Endpoint, patience: float) -> dict[str, Finding]:
    """Connect to ``destination`` through ``path`` with each library, in parallel; the findings by library.

    ``patience``: seconds for all attempts together.
    """
    other_clients = dict.fromkeys(_LIBRARIES, Finding(NO, "no answer in time"))

    def ask(name: str, connect: Connect) -> None:
        other_clients[name] = _other_client(connect, path, destination, patience)

    # Daemon threads, which may be left running: the libraries' timeouts start anew with each message, and do
    # not include the resolver.
    threads = [Thread(target=ask, args=each, daemon=True) for each in _LIBRARIES.items()]
    end = monotonic() + patience
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, end - monotonic()))
    return dict(other_clients)


def _other_client(connect: Connect, path: Path, destination: Endpoint, patience: float) -> Finding:
    try:
        with connect(path, destination, patience):
            return Finding(YES)
    except ModuleNotFoundError:
        return Finding(UNKNOWN, "not installed")
    except NotTried as err:
        return Finding(UNKNOWN, f"not tried: {err}")
    except Exception as err:
        # Any exception means that the library failed: it may raise classes of its own.
        return Finding(NO, _words(err, path))


def _with_python_socks(path: Path, destination: Endpoint, patience: float) -> AbstractContextManager[Any]:
    kinds = import_module("python_socks").ProxyType
    proxy_class = import_module("python_socks.sync").Proxy
    proxy = None
    for hop in path:
        if hop.scheme not in _KINDS:
            raise NotTried(f"it has no {hop.scheme} hops")
        kind = getattr(kinds, _KINDS[hop.scheme])
        proxy = proxy_class(kind, hop.host, hop.port, *_login(hop), rdns=True, forward=proxy)
    assert proxy is not None, "a path has a hop"
    connected: AbstractContextManager[Any] = proxy.connect(
        destination.host, destination.port, timeout=patience
    )
    return connected


def _with_pysocks(path: Path, destination: Endpoint, patience: float) -> AbstractContextManager[Any]:
    socks = import_module("socks")
    if len(path) > 1:
        raise NotTried("it has no chains")
    (hop,) = path
    connected: AbstractContextManager[Any] = socks.create_connection(
        (destination.host, destination.port),
        timeout=patience,
        proxy_type=getattr(socks, _KINDS[hop.scheme]),
        proxy_addr=hop.host,
        proxy_port=hop.port,
        proxy_rdns=True,
        **dict(zip(("proxy_username", "proxy_password"), _login(hop), strict=True)),
    )
    return connected


# The names of the schemes in both libraries.
_KINDS = {"socks4": "SOCKS4", "socks4a": "SOCKS4", "socks5": "SOCKS5", "socks5h": "SOCKS5", "http": "HTTP"}

_LIBRARIES: dict[str, Connect] = {"python-socks": _with_python_socks, "PySocks": _with_pysocks}


def _login(hop: Proxy) -> tuple[str | None, str | None]:
    """The username and password as str, which both libraries require."""
    return _text(hop.username), _text(hop.password)


def _text(data: bytes | None) -> str | None:
    return None if data is None else data.decode("utf-8", "backslashreplace")


def _words(err: Exception, path: Path) -> str:
    text = str(err)
    return " ".join(text.split()) if text and not _tells_a_password(text, path) else _named(err)


def _tells_a_password(text: str, path: Path) -> bool:
    """Whether ``text`` has a password of ``path``: as it is, in a repr(), or encoded in a URL.

    A short password may be part of a text by chance: that case looks the same.
    """
    for hop in path:
        password = _text(hop.password)
        if password and any(
            form in text for form in (password, repr(password)[1:-1], quote(hop.password or b"", safe=""))
        ):
            return True
    return False


def _named(err: BaseException) -> str:
    """The name of the class of ``err``, and the text for its errno, or for the errno of its cause."""
    name = type(err).__name__
    cause: BaseException | None = err
    while cause is not None:
        number = cause.errno if isinstance(cause, OSError) else None
        if isinstance(number, int) and number > 0:
            return f"{name}: {os.strerror(number)}"
        cause = cause.__context__
    return name
