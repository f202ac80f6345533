"""In the target, before the program: install the patches, then run the ``sitecustomize`` that ours hides.

Called by ``startup/sitecustomize.py``, which ends the process when anything here raises.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _thread
import os
import sys

from pywrap import intercept
from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.config.settings import Settings

# Copies of ``settings_env.VARIABLE`` and ``settings_file.PREFIX``: those modules are imported only when they
# are needed. A test holds the copies equal.
VARIABLE = "PYSOCKSIFY_SETTINGS"
PREFIX = "file="


def start(directory: str, hides: bool = True) -> None:
    """Patch this interpreter. ``directory``: the folder of our ``sitecustomize.py``.

    ``hides``: whether ``site`` has imported that file in the place of another ``sitecustomize``, which is
    then run as well.

    Raises:
        RuntimeError: the launcher's settings are missing or cannot be read.
    """
    try:
        value = _value()
        text = _from_file(value) if value.startswith(PREFIX) else value
    except RuntimeError:
        if not _is_subinterpreter():
            raise
        # A subinterpreter without settings must not end the process. If Python code made it, our patch in the
        # interpreter of that code patches it now. If C code made it, this hook refuses all of its traffic.
        sys.addaudithook(_refuse)
        return
    if " keep_env " not in text and any("proxy" in name.lower() for name in os.environ):
        from pywrap.config import variables

        variables.hide()
    if "_socket" in sys.modules:
        _tell_of_earlier(settings(text))
    intercept.arm(lambda: settings(text), lambda: value)
    # sys.path becomes what it would be without pysocksify. Children get our folder from PYTHONPATH.
    sys.path[:] = [entry for entry in sys.path if not _same(entry, directory)]
    if hides:
        run_hidden()


def _tell_of_earlier(known: Settings) -> None:
    """Warn at -v that ``socket`` was imported before us: ``site`` runs .pth files, and 3.15 .start files."""
    if not load("pywrap.intercept.child_policy").is_inside(os.environ):
        text = "socket was imported before pysocksify, by a .pth or .start file: what that sent left directly"
        load("pywrap.messages").Messages(known.verbosity).say(1, text)


def _value() -> str:
    value = os.environ.get(VARIABLE) or _at_start()
    if not value:
        raise RuntimeError(f"PYTHONPATH names pysocksify, but {VARIABLE} is not set")
    return value


def _at_start() -> str:
    """The value of our variable at the start of this process; "" if that is not known.

    A program may have cleaned ``os.environ`` before it makes a subinterpreter, which also runs this code.
    """
    try:
        with open("/proc/self/environ", "rb") as file:
            rows = file.read().split(b"\0")
    except OSError:
        return ""
    prefix = VARIABLE.encode() + b"="
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


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event in intercept.WATCHED and not intercept.active():
        raise PermissionError(1, "pysocksify refused: this interpreter has no settings")


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


def settings(text: str) -> Settings:
    """The settings of the launcher in ``text``; if that is damaged, the process ends with status 125."""
    errors = load("pywrap.errors")
    try:
        return load("pywrap.config.settings_env").decode(text)  # type: ignore[no-any-return]
    except errors.ConfigError as err:
        # Not an exception: the program might catch it and go on without the proxies.
        os.write(2, f"pysocksify: error: {err}\nhint: {err.hint}\n".encode("utf-8", "backslashreplace"))
        os._exit(125)


def run_hidden() -> None:
    """Import the next ``sitecustomize`` on sys.path, as ``site`` would without ours."""
    # This runs inside the import of our own sitecustomize, which fails at its end unless sys.modules has the
    # name.
    ours = sys.modules.pop("sitecustomize")
    try:
        if _find() is not None:
            import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except Exception as err:
        # ``site`` prints these words for an error in a sitecustomize, and goes on.
        sys.stderr.write(
            f"Error in sitecustomize; set PYTHONVERBOSE for traceback:\n{type(err).__name__}: {err}\n"
        )
    sys.modules.setdefault("sitecustomize", ours)


def _find() -> Any:
    for finder in sys.meta_path:
        spec = finder.find_spec("sitecustomize", None)
        if spec is not None:
            return spec
    return None


def _same(entry: str, directory: str) -> bool:
    return entry == directory or (entry != "" and os.path.abspath(entry) == directory)
