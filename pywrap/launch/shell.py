"""``--env``: commands that make a shell start every Python program as pysocksify would, and undo that.

The old values of variables are not kept: PYTHONPATH without our entry is the old one, even if it has been
changed since. Only the names of variables that did not exist have to be remembered.
"""

from __future__ import annotations

import os
import shlex

from pywrap.config import settings_env
from pywrap.launch import log_file, secrets
from pywrap.launch.environment import STARTUP, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pywrap.config.settings import Settings

# The name of the variable that lists the variables that did not exist before.
BROUGHT = "PYSOCKSIFY_BROUGHT"


def exports(settings: Settings, base: Mapping[str, str]) -> str:
    """The commands for a shell with the environment ``base`` and the ``export`` of POSIX.

    Raises:
        ConfigError: the log cannot be opened.
    """
    settings = log_file.begin(settings, "shell", confined=False)
    # The session leader stands for the shell, whose pid is unknown: $(…) may run in a subshell.
    leader = os.getsid(0)
    changed = environment(settings, base, leader if leader not in (0, os.getpid()) else os.getppid())
    names = [name for name in changed if changed[name] != base.get(name)]
    brought = base.get(BROUGHT, "").split()
    brought += [name for name in names if name not in base and name not in brought]
    lines = [f"export {name}={shlex.quote(changed[name])}" for name in names]
    return "\n".join([*lines, f"export {BROUGHT}={shlex.quote(' '.join(brought))}", ""])


def undo(base: Mapping[str, str]) -> str:
    """The commands that undo those of ``exports``, for a shell with the environment ``base``."""
    secrets.take_back(base.get(settings_env.VARIABLE, ""))
    brought = base.get(BROUGHT, "").split()
    lines = []
    path = base.get("PYTHONPATH", "").split(os.pathsep)
    if STARTUP in path:
        rest = os.pathsep.join(entry for entry in path if entry != STARTUP)
        if rest or "PYTHONPATH" not in brought:
            lines.append(f"export PYTHONPATH={shlex.quote(rest)}")
        else:
            lines.append("unset PYTHONPATH")
    lines += [f"unset {name}" for name in brought if name in base and name != "PYTHONPATH"]
    lines += [
        f"unset {name}" for name in (settings_env.VARIABLE, BROUGHT) if name in base and name not in brought
    ]
    return "".join(f"{line}\n" for line in lines)
