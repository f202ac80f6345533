"""Runs PROGRAM in a confinement (``pywrap.confine``), from which it reaches the proxies and nothing else.

Python programs in the confinement are patched as well: so their errors and datagrams are as exact as without
a confinement, and traffic that bypasses the patches is confined.
"""

from __future__ import annotations

import errno
import os
import stat

from pywrap.config.config_error import ConfigError
from pywrap.config.settings_env import CONFINED
from pywrap.confine.launcher import CannotConfine, CannotExecute, run
from pywrap.launch.launch_error import CANNOT_RUN, NOT_FOUND, LaunchError
from pywrap.messages import Messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pywrap.config.settings import Settings
    from pywrap.confine.publish import Publication
    from pywrap.launch.launch_error import NotCovered


def launch(
    settings: Settings,
    file: str,
    command: list[str],
    variables: dict[str, str],
    uncovered: NotCovered | None,
    publications: list[Publication],
) -> NoReturn:
    """Execute ``command``, whose file is ``file``, under ``settings``.

    ``uncovered``: the error why the patches alone do not cover it; None where they do. ``variables``: the
    environment of the program, without the variable that names the confinement.

    Raises:
        LaunchError: the program is not started.
    """
    messages = Messages(settings.verbosity)
    if uncovered is not None:
        messages.say(2, f"confined: {uncovered.reason}")
    if _gains_privileges(file):
        messages.say(0, f"`{file}` is setuid, and gains no privileges in a confinement of an ordinary user")
    try:
        run(settings, file, command, lambda namespace: {**variables, CONFINED: namespace}, publications)
    except CannotConfine as err:
        # Imported here, as most machines allow it, and the program waits for what is imported before.
        from pywrap.confine.remedies import explain

        cause, remedy = explain(err.error)
        what = f"{uncovered.reason}; it" if uncovered else f"`{file}`"
        raise LaunchError(f"{what} cannot be confined: {cause}", remedy, 125) from err
    except CannotExecute as err:
        status = NOT_FOUND if err.errno == errno.ENOENT else CANNOT_RUN
        raise LaunchError(f"cannot run {file}: {err}", "", status) from err
    except ConfigError as err:
        raise LaunchError(str(err), err.hint, 125) from err


def _gains_privileges(file: str) -> bool:
    status = os.stat(file)
    return bool(status.st_mode & stat.S_ISUID) and status.st_uid != os.geteuid() != 0
