"""The environment that makes a Python read our start-up file, and the settings in it."""

from __future__ import annotations

import os

from pywrap.config import handover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pywrap.config.settings import Settings

# Holds sitecustomize.py and nothing else: it is first on the target's sys.path.
STARTUP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "startup")


def environment(settings: Settings, base: Mapping[str, str]) -> dict[str, str]:
    """``base`` with what a program needs to run under ``settings``."""
    changed = dict(base)
    old = changed.get("PYTHONPATH", "")
    others = [entry for entry in old.split(os.pathsep) if entry != STARTUP] if old else []
    changed["PYTHONPATH"] = os.pathsep.join([STARTUP, *others])
    changed[handover.VARIABLE] = handover.encode(settings)
    if settings.dns != "local":
        # eventlet would ask name servers itself, over UDP that we refuse, instead of the patched functions.
        changed.setdefault("EVENTLET_NO_GREENDNS", "yes")
    return changed
