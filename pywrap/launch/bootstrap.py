"""In the target, before the program: install the patches, then run the ``sitecustomize`` that ours hides.

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
    value = text = os.environ.get(VARIABLE, "")
    if not value or value.startswith(PREFIX):
        found = load("pywrap.launch.target_settings", "secrets").find(value, VARIABLE, PREFIX)
        if found is None:
            # A subinterpreter without settings must not end the process. If Python code made it, our patch in
            # the interpreter of that code patches it now. If C code made it, this hook refuses all of its
            # traffic.
            sys.addaudithook(_refuse)
            return
        value, text = found
    if " keep_env " not in text and _has_proxy_variable():
        from pywrap.config import variables

        variables.hide()
    if "_socket" in sys.modules:
        load("pywrap.launch.target_settings").tell_of_earlier(text)
    intercept.arm(lambda: settings(text), lambda: value)
    # sys.path becomes what it would be without pysocksify. Children get our folder from PYTHONPATH.
    sys.path[:] = [entry for entry in sys.path if not _same(entry, directory)]
    if hides:
        run_hidden()


def _has_proxy_variable() -> bool:
    """Is there a variable that may name a proxy? ``config.variables`` looks more closely."""
    # The bytes behind it: to decode all names one by one takes as long as half of a start.
    environ: Any = os.environ
    data: dict[bytes, bytes] = environ._data
    return b"proxy" in b" ".join(data).lower()


def settings(text: str) -> Settings:
    """The settings of the launcher in ``text``; if that is damaged, the process ends with status 125."""
    return load("pywrap.launch.target_settings").decoded(text)  # type: ignore[no-any-return]


def _refuse(event: str, args: tuple[Any, ...]) -> None:
    if event in intercept.WATCHED and not intercept.active():
        raise PermissionError(1, "pysocksify refused: this interpreter has no settings")


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
