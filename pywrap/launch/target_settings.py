"""The launcher's settings in the target, where they are not simply the text in the environment variable."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import os

from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Settings


def find(value: str, variable: str, prefix: str) -> tuple[str, str] | None:
    """What the environment variable should have, and the text of the settings.

    ``value``: what it has, "" for nothing. ``variable``: its name. ``prefix``: what a value begins with that
    names a file. None: this is a subinterpreter, and there are no settings for it.

    Raises:
        RuntimeError: the settings are missing or cannot be read.
    """
    try:
        value = value or _at_start(variable)
        if not value:
            raise RuntimeError(f"PYTHONPATH names pysocksify, but {variable} is not set")
        return value, _from_file(value) if value.startswith(prefix) else value
    except RuntimeError:
        if _is_subinterpreter():
            return None
        raise


def _at_start(variable: str) -> str:
    """Our variable as this process got it; "" if that is not known. A program may have cleaned ``os.environ``
    before it makes a subinterpreter, and that comes by here."""
    try:
        with open("/proc/self/environ", "rb") as file:
            rows = file.read().split(b"\0")
    except OSError:
        return ""
    prefix = variable.encode() + b"="
    return next((os.fsdecode(row[len(prefix) :]) for row in rows if row.startswith(prefix)), "")


def _is_subinterpreter() -> bool:
    if hasattr(_thread, "_is_main_interpreter"):
        return not _thread._is_main_interpreter()
    # Python 3.11. Not by the identifier objects of _xxsubinterpreters: when the last of these is deleted, the
    # interpreter ends. _signal.signal() fails with a ValueError in all interpreters but the main one.
    try:
        _signal.signal(1, None)
    except TypeError:
        return False
    except ValueError:
        return True
    raise AssertionError("None is no handler")


def _from_file(value: str) -> str:
    """The settings in a file of ``pywrap.launch.secrets``.

    The file is read at the start, since it may be gone when the program makes its first connection.
    """
    # Imported here, as most programs have no such file.
    import atexit

    from pywrap.launch import settings_file

    text = settings_file.text_of(value)
    atexit.register(_ended, value)
    return text


def _ended(value: str) -> None:
    # A subinterpreter may end before the process does, which still needs the file.
    if not _is_subinterpreter():
        load("pywrap.launch.secrets").discard(value)


def decoded(text: str) -> Settings:
    """The settings of ``text``; if that is damaged, the process ends with status 125, as at its start."""
    errors = load("pywrap.errors")
    try:
        return load("pywrap.config.settings_env").decode(text)  # type: ignore[no-any-return]
    except errors.ConfigError as err:
        # Not an exception: the program might catch it and go on without the proxies.
        os.write(2, f"pysocksify: error: {err}\nhint: {err.hint}\n".encode("utf-8", "backslashreplace"))
        os._exit(125)


def tell_of_earlier(text: str) -> None:
    """Say that ``socket`` was there before the settings ``text``: ``site`` runs the import lines of .pth
    files, and 3.15 the entry points of .start files, before us."""
    known = decoded(text)
    if not load("pywrap.intercept.child_policy").is_inside(os.environ):
        told = "socket was imported before pysocksify, by a .pth or .start file: what that sent left directly"
        load("pywrap.messages").Messages(known.verbosity).say(1, told)
