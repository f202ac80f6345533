"""Commands for a shell that make it start every Python program as pysocksify would, and that undo this.

What a variable was before is not kept in another one: PYTHONPATH without our entry is what it was, also if
it has been changed since. Only which variables were not there at all has to be remembered.
"""

from __future__ import annotations

import os
import shlex

from pywrap.config import settings_env
from pywrap.launch import secrets
from pywrap.launch.environment import STARTUP, environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pywrap.config.settings import Settings

# The variables that we brought.
BROUGHT = "PYSOCKSIFY_BROUGHT"


def exports(settings: Settings, base: Mapping[str, str]) -> str:
    """The commands for a shell with the environment ``base``, any that understands POSIX' ``export``."""
    # Of the shell itself the pid is not known: a $(…) may be a process in between.
    leader = os.getsid(0)
    changed = environment(settings, base, leader if leader not in (0, os.getpid()) else os.getppid())
    names = [name for name in changed if changed[name] != base.get(name)]
    brought = base.get(BROUGHT, "").split()
    brought += [name for name in names if name not in base and name not in brought]
    lines = [f"export {name}={shlex.quote(changed[name])}" for name in names]
    return "\n".join([*lines, f"export {BROUGHT}={shlex.quote(' '.join(brought))}", ""])


def undo(base: Mapping[str, str]) -> str:
    """The commands that take back what ``exports`` did to a shell whose environment is now ``base``."""
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
