"""In the target, before the program: arm the patches, then run the ``sitecustomize`` that ours hides.

Called by ``startup/sitecustomize.py``, which ends the process when anything here raises.
"""

from __future__ import annotations

import os
import sys

from pywrap import intercept
from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.config.settings import Settings

# ``handover.VARIABLE``, whose import is left to the first use; a test holds the two together.
VARIABLE = "PYSOCKSIFY_SETTINGS"
# ``secrets.PREFIX``, likewise.
PREFIX = "file="


def start(directory: str, hides: bool = True) -> None:
    """Protect this interpreter. ``directory`` is where our ``sitecustomize.py`` is.

    ``hides``: that file has been found by ``site`` in the place of another of its name, which is run then.

    Raises:
        RuntimeError: the launcher's settings are missing.
    """
    value = os.environ.get(VARIABLE)
    if not value:
        raise RuntimeError(f"PYTHONPATH names pysocksify, but {VARIABLE} is not set")
    text = _from_file(value) if value.startswith(PREFIX) else value
    if " keep_env " not in text and any("proxy" in name.lower() for name in os.environ):
        from pywrap.config import variables

        variables.hide()
    intercept.arm(lambda: settings(text), lambda: value)
    # The program's sys.path is what it would be without us. Its children get ours from PYTHONPATH.
    sys.path[:] = [entry for entry in sys.path if not _same(entry, directory)]
    if hides:
        run_hidden()


def _from_file(value: str) -> str:
    """The settings in a file of ``pywrap.launch.secrets``.

    Read now: it may be gone when the first connection is made.
    """
    path = value[len(PREFIX) :]
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            # A folder below /tmp could have been made by anybody.
            if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0 or status.st_mode & 0o077:
                raise PermissionError(1, "it is not this user's alone")
            text = os.read(fd, status.st_size).decode("ascii")
        finally:
            os.close(fd)
    except OSError as err:
        raise RuntimeError(f"cannot read the settings in {path}: {err.strerror}") from None
    # Here, as most programs have no such file.
    import atexit

    atexit.register(_ended, value)
    return text


def _ended(value: str) -> None:
    from pywrap.launch import secrets

    secrets.discard(value)


def settings(text: str) -> Settings:
    """What the launcher decided; a damaged text ends the process, as at the start."""
    errors = load("pywrap.errors")
    try:
        return load("pywrap.config.settings_env").decode(text)  # type: ignore[no-any-return]
    except errors.ConfigError as err:
        # An exception would reach the program, which might go on.
        os.write(2, f"pysocksify: error: {err}\nhint: {err.hint}\n".encode("utf-8", "backslashreplace"))
        os._exit(125)


def run_hidden() -> None:
    """Run the next ``sitecustomize`` on sys.path, as ``site`` would have."""
    # The import of ours, inside which we are, ends well only when there is one under this name.
    ours = sys.modules.pop("sitecustomize")
    try:
        if _find() is not None:
            import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except Exception as err:
        # The program's own business, and ``site`` goes on after it, with these words.
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
