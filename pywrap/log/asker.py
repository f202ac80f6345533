"""Finds out which thread and which library of the program ask for a connection, from the stack."""

from __future__ import annotations

import sys
from _thread import get_ident, get_native_id
from os import getpid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

# Packages between a library and the socket, which are passed over in the stack: the standard library,
# pysocksify, and libraries that only wrap sockets.
_BETWEEN = sys.stdlib_module_names | {
    *("pywrap", "gevent", "eventlet", "trio", "anyio", "sniffio", "outcome", "greenlet"),
    *("aiohappyeyeballs", "socks", "python_socks", "aiohttp_socks", "importlib"),
}
# How many frames of the stack are looked at.
_DEEPEST = 48


def library() -> str | None:
    """The top-level package of the caller's first frame outside of the standard library; None without one.

    A script asks as "__main__".
    """
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_DEEPEST):
        if frame is None:
            break
        name = frame.f_globals.get("__name__")
        if isinstance(name, str):
            top = name.partition(".")[0]
            if top not in _BETWEEN:
                # pip contains copies of libraries, such as pip._vendor.urllib3.
                return name.rpartition("._vendor.")[2].partition(".")[0]
        frame = frame.f_back
    return None


def thread() -> str:
    """The name of this thread, or its number where it has none."""
    threading = sys.modules.get("threading")
    # Not current_thread(): it makes an object for a thread that has none.
    known = getattr(threading, "_active", {}).get(get_ident())
    name = getattr(known, "name", None)
    if isinstance(name, str):
        return name
    number = get_native_id()
    return "MainThread" if number == getpid() else str(number)


def program() -> str:
    """The name of this process for the log: that of its script, or of the interpreter."""
    words = getattr(sys, "argv", None) or [""]
    first = words[0] if isinstance(words[0], str) else ""
    if first in ("", "-", "-c", "-m"):
        first = sys.executable or "python"
    name = first.rpartition("/")[2]
    if name == "__main__.py":
        # For `python -m package`, sys.argv[0] is the path of package/__main__.py.
        name = first.rstrip("/").split("/")[-2] if "/" in first else name
    return name
