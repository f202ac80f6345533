"""The environment that makes a Python read our start-up file, and the settings in it."""

from __future__ import annotations

import os
import sys

from pywrap.config import settings_env
from pywrap.config.variables import is_proxy_variable
from pywrap.frozen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pywrap.config.settings import Settings

# Holds sitecustomize.py and nothing else: it is first on the target's sys.path.
STARTUP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "startup")


def environment(settings: Settings, base: Mapping[str, str], owner: int | None = None) -> dict[str, str]:
    """``base`` with what a program needs to run under ``settings``.

    ``owner``: the process for whose time a file with passwords has to be there, by default this one.
    Variables that name proxies stay, for children that are not covered: the target hides them
    (``config.variables``).
    """
    changed = dict(base)
    old = changed.get("PYTHONPATH", "")
    others = [entry for entry in old.split(os.pathsep) if entry != STARTUP] if old else []
    changed["PYTHONPATH"] = os.pathsep.join([STARTUP, *others])
    if not settings.keep_env:
        variables = tuple((name, value) for name, value in base.items() if is_proxy_variable(name))
        settings = replace(settings, proxy_variables=variables)
        if variables and settings.verbosity >= 1:
            names = ", ".join(f"${name}" for name, _ in variables)
            print(f"pysocksify: hidden from the program, but with --keep-env: {names}", file=sys.stderr)
    changed[settings_env.VARIABLE] = _handed_over(settings, base, owner or os.getpid())
    if settings.dns != "local":
        # eventlet would ask name servers itself, over UDP that we refuse, instead of the patched functions.
        changed.setdefault("EVENTLET_NO_GREENDNS", "yes")
    return changed


def _handed_over(settings: Settings, base: Mapping[str, str], owner: int) -> str:
    text = settings_env.encode(settings)
    if not settings_env.has_secrets(settings):
        return text
    # Here, not on top: most settings have no passwords.
    from pywrap.launch import secrets

    try:
        return secrets.store(text, owner, base)
    except OSError as err:
        if settings.verbosity >= 0:
            print(
                f"pysocksify: warning: no file for the password ({err.strerror}): "
                f"it is in {settings_env.VARIABLE}, which every child can read",
                file=sys.stderr,
            )
        return text
