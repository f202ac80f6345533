"""The environment that makes a Python read our start-up file, and the settings in it."""

from __future__ import annotations

import os
import sys

from pywrap.config import settings_env
from pywrap.config.variables import is_proxy_variable
from pywrap.frozen import replace
from pywrap.programs import cover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pywrap.config.settings import Settings

STARTUP = cover.STARTUP


def environment(settings: Settings, base: Mapping[str, str], owner: int | None = None) -> dict[str, str]:
    """The environment ``base``, with the variables that make a Python run under ``settings``.

    ``owner``: the pid of the process that a file with passwords is kept for, by default this one. Variables
    that name proxies stay, for children that are not covered: the target hides them (``config.variables``).
    """
    if not settings.keep_env:
        variables = tuple((name, value) for name, value in base.items() if is_proxy_variable(name))
        settings = replace(settings, proxy_variables=variables)
        if variables and settings.verbosity >= 1:
            names = ", ".join(f"${name}" for name, _ in variables)
            print(f"pysocksify: hidden from the program, but with --keep-env: {names}", file=sys.stderr)
    outer = {name: value for name, value in base.items() if name != settings_env.VARIABLE}
    changed = cover.environment(outer, handed_over(settings, base, owner))
    if settings.dns != "local":
        # Without this, eventlet does not use the patched functions for look-ups: it sends DNS over UDP by
        # itself, which is refused.
        changed.setdefault(cover.EVENTLET, "yes")
    return changed


def handed_over(settings: Settings, base: Mapping[str, str], owner: int | None = None) -> str:
    """The value of our variable for ``settings``; ``base`` and ``owner`` as for ``environment``.

    With a password in the settings, the value names a file. If no file can be made, a warning goes to stderr,
    and the value has the password.
    """
    text = settings_env.encode(settings)
    if not settings_env.has_secrets(settings):
        return text
    # Imported here, as most settings have no passwords.
    from pywrap.launch import secrets

    try:
        return secrets.store(text, owner or os.getpid(), base)
    except OSError as err:
        if settings.verbosity >= 0:
            print(
                f"pysocksify: warning: no file for the password ({err.strerror}): "
                f"it is in {settings_env.VARIABLE}, which every child can read",
                file=sys.stderr,
            )
        return text
