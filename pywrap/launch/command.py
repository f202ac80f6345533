"""Executes PROGRAM in this process (exec), so that pid, terminal, signals and exit status are its own."""

from __future__ import annotations

import errno
import os
import signal

from pywrap.config import settings_env
from pywrap.config.variables import complete
from pywrap.frozen import replace
from pywrap.launch.environment import environment
from pywrap.launch.errors import CANNOT_RUN, NOT_FOUND, LaunchError
from pywrap.launch.program import look_through
from pywrap.launch.secrets import PREFIX, take_back
from pywrap.tunnel import round_robin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pywrap.config.settings import Proxy, Settings

__all__ = ["LaunchError", "launch"]


def launch(settings: Settings, command: list[str], embedded: bool) -> NoReturn:
    """Execute ``command`` under ``settings``; with ``embedded``, the bundled server is the first proxy.

    Raises:
        LaunchError: the program is not started.
    """
    file, through = look_through(command)
    if embedded:
        from pywrap.launch import embedded as bundled

        try:
            settings = _prefixed(settings, bundled.start(settings.verbosity))
        except OSError as err:
            raise LaunchError(f"cannot start the bundled server: {err.strerror}", "", 125) from err
    try:
        settings = replace(settings, shared_file=round_robin.create())
    except OSError as err:
        # Without the shared file each process counts for itself, and all would begin with the same proxy.
        if any(chain.type == "round_robin" for chain in settings.chains):
            raise LaunchError(f"cannot count for the round robin: {err.strerror}", "", 125) from err
    environ = environment(settings, complete(os.environ))
    in_a_file = environ[settings_env.VARIABLE].startswith(PREFIX)
    if through.says_settings and settings_env.has_secrets(settings) and not in_a_file:
        raise LaunchError(
            "no file for the password, and behind this wrapper it would be seen in the arguments",
            "give yourself an $XDG_RUNTIME_DIR with the mode 0700",
            125,
        )
    # Python ignores these signals, and an ignored signal stays ignored through an exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execve(file, through.with_environment(environ), environ)
    except OSError as err:
        take_back(environ[settings_env.VARIABLE])
        # ENOENT although the file exists: the interpreter of its `#!` line is missing.
        status = NOT_FOUND if err.errno == errno.ENOENT else CANNOT_RUN
        raise LaunchError(f"cannot run {file}: {err.strerror}", "", status) from err


def _prefixed(settings: Settings, proxy: Proxy) -> Settings:
    """``settings`` with ``proxy`` before the others of the default chain."""
    default, *named = settings.chains
    return replace(settings, chains=(replace(default, proxies=(proxy, *default.proxies)), *named))
