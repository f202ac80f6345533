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

# ``settings_env.VARIABLE`` and ``secrets.PREFIX``. Those modules are imported when they are first needed; a
# test holds the copies equal.
VARIABLE = "PYSOCKSIFY_SETTINGS"
PREFIX = "file="


def start(directory: str, hides: bool = True) -> None:
    """Patch this interpreter. ``directory``: the folder of our ``sitecustomize.py``.

    ``hides``: ``site`` has imported that file in the place of another ``sitecustomize``, which is run then.

    Raises:
        RuntimeError: the launcher's settings are missing or cannot be read.
    """
    try:
        value = _value()
        text = _from_file(value) if value.startswith(PREFIX) else value
    except RuntimeError:
        if not _is_subinterpreter():
            raise
        # The process must not end for it. The patch of the interpreter that made it arms it now; where C code
        # made it, nothing goes out.
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
    """``site`` runs the import lines of .pth files, and 3.15 the entry points of .start files, before us."""
    if not load("pywrap.intercept.child_policy").is_inside(os.environ):
        text = "socket was imported before pysocksify, by a .pth or .start file: what that sent left directly"
        load("pywrap.messages").Messages(known.verbosity).say(1, text)


def _value() -> str:
    value = os.environ.get(VARIABLE) or _at_start()
    if not value:
        raise RuntimeError(f"PYTHONPATH names pysocksify, but {VARIABLE} is not set")
    return value


def _at_start() -> str:
    """Our variable as this process got it; "" if that is not known. A program may have cleaned ``os.environ``
    before it makes a subinterpreter, and that comes by here."""
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
    # Python 3.11. The number that _xxsubinterpreters has for it would not do: an interpreter ends with the
    # last of these. Only the main interpreter gets as far as to look at the handler.
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
    # The end of a subinterpreter is not that of the process.
    if not _is_subinterpreter():
        load("pywrap.launch.secrets").discard(value)


def settings(text: str) -> Settings:
    """The launcher's settings; if ``text`` is damaged, the process ends with status 125, as at its start."""
    errors = load("pywrap.errors")
    try:
        return load("pywrap.config.settings_env").decode(text)  # type: ignore[no-any-return]
    except errors.ConfigError as err:
        # Not an exception: the program might catch it and go on without the proxies.
        os.write(2, f"pysocksify: error: {err}\nhint: {err.hint}\n".encode("utf-8", "backslashreplace"))
        os._exit(125)


def run_hidden() -> None:
    """Import the next ``sitecustomize`` on sys.path, as ``site`` would without ours."""
    # This runs inside the import of ours, which fails at its end unless sys.modules has the name.
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
