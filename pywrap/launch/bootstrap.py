"""In the target, before the program: arm the patches, then run the ``sitecustomize`` that ours hides.

Called by ``startup/sitecustomize.py``, which ends the process when anything here raises.
"""

from __future__ import annotations

import os
import sys

from pywrap import intercept
from pywrap.config import handover
from pywrap.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def start(directory: str) -> None:
    """Protect this interpreter. ``directory`` is where our ``sitecustomize.py`` is.

    Raises:
        ConfigError: the launcher's settings are missing or damaged.
    """
    text = os.environ.get(handover.VARIABLE)
    if text is None:
        raise ConfigError(f"PYTHONPATH names pysocksify, but {handover.VARIABLE} is not set")
    intercept.arm(handover.decode(text))
    # The program's sys.path is what it would be without us. Its children get ours from PYTHONPATH.
    sys.path[:] = [entry for entry in sys.path if not _same(entry, directory)]
    run_hidden()


def run_hidden() -> None:
    """Run the next ``sitecustomize`` on sys.path, as ``site`` would have."""
    ours = sys.modules.pop("sitecustomize", None)
    try:
        spec = _find()
        if spec is None:
            if ours is not None:
                sys.modules["sitecustomize"] = ours
            return
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    except Exception as err:
        # The program's own business, and ``site`` goes on after it, with these words.
        sys.stderr.write(
            f"Error in sitecustomize; set PYTHONVERBOSE for traceback:\n{type(err).__name__}: {err}\n"
        )


def _find() -> Any:
    for finder in sys.meta_path:
        spec = finder.find_spec("sitecustomize", None)
        if spec is not None:
            return spec
    return None


def _same(entry: str, directory: str) -> bool:
    return entry == directory or (entry != "" and os.path.abspath(entry) == directory)
