"""Decides whether PROGRAM is patched or confined, and executes it.

A PROGRAM that can be patched is executed in this process (exec), so that pid, terminal, signals and exit
status are its own. One that is to be confined (``pywrap.confine``) is executed in a child, and this process
stays as its parent.
"""

from __future__ import annotations

# Without the enumerations of ``signal``, whose import takes 1 ms.
import _signal as signal  # type: ignore[import-not-found]
import errno
import os

from pywrap import archive
from pywrap.config import settings_env
from pywrap.config.settings import new_run
from pywrap.config.variables import complete, is_proxy_variable
from pywrap.frozen import replace
from pywrap.launch.environment import environment
from pywrap.launch.launch_error import CANNOT_RUN, NOT_FOUND, LaunchError, NotCovered
from pywrap.launch.program import find, look_through
from pywrap.launch.settings_file import PREFIX
from pywrap.programs import cover
from pywrap.tunnel import shared_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

    from pywrap.config.settings import Proxy, Settings
    from pywrap.confine.publish import Publication

__all__ = ["LaunchError", "launch"]


def launch(settings: Settings, command: list[str], embedded: bool, publish: Sequence[str] = ()) -> NoReturn:
    """Execute ``command`` under ``settings``; with ``embedded``, the bundled server is the first proxy.

    ``publish``: servers in a confinement that are reached from outside (``confine.publish``).

    Raises:
        LaunchError: the program is not started.
        ConfigError: the program is not started, since the log cannot be opened.
    """
    covered: Covered | None = None
    uncovered: NotCovered | None = None
    secured = next(iter(settings.secured_hops), None)
    if secured is not None and settings.confine == "off":
        from pywrap.config.url_security import needs_relay

        raise LaunchError(*needs_relay(secured), 125)
    if settings.confine != "on" and secured is None:
        try:
            covered = Covered(command)
        except NotCovered as err:
            if settings.confine == "off":
                raise
            uncovered = err
    publications = _publications(publish)
    if embedded:
        from pywrap.launch import embedded as bundled

        try:
            settings = _prefixed(settings, bundled.start(settings.verbosity))
        except OSError as err:
            raise LaunchError(f"cannot start the bundled server: {err.strerror}", "", 125) from err
    settings = replace(settings, run=new_run())
    try:
        settings = replace(settings, shared_file=shared_file.create(shared_file.copy_alone))
    except OSError as err:
        # Without the shared file each process has a counter of its own, and all would begin with the same
        # proxy.
        if any(chain.type == "round_robin" for chain in settings.chains):
            raise LaunchError(f"cannot count for the round robin: {err.strerror}", "", 125) from err
    if settings.log:
        from pywrap.launch import log_file

        settings = log_file.begin(settings, os.path.basename(command[0]), confined=covered is None)
    environ = plain_environment(settings) if secured else environment(settings, complete(os.environ))
    if covered is None:
        _write_archives()
        archive.read("confined")
        from pywrap.launch import confined

        confined.launch(settings, find(command[0]), command, environ, uncovered, publications)
    if publications:
        hint = "the servers of such a program are reached anyway; or --confine on"
        raise LaunchError("`--publish` without a confinement", hint, 125)
    in_a_file = environ[settings_env.VARIABLE].startswith(PREFIX)
    if covered.says_settings and settings_env.has_secrets(settings) and not in_a_file:
        raise LaunchError(
            "no file for the password, and behind this wrapper it would be seen in the arguments",
            "give yourself an $XDG_RUNTIME_DIR with the mode 0700",
            125,
        )
    # Python ignores these signals, and an ignored signal stays ignored through an exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    _write_archives()
    try:
        os.execve(covered.file, covered.words(environ), environ)
    except OSError as err:
        from pywrap.launch.secrets import take_back

        take_back(environ[settings_env.VARIABLE])
        # ENOENT although the file exists: the interpreter of its `#!` line is missing.
        status = NOT_FOUND if err.errno == errno.ENOENT else CANNOT_RUN
        raise LaunchError(f"cannot run {covered.file}: {err.strerror}", "", status) from err


class Covered:
    """A command that ends up as a Python which reads our start-up file; ``file`` is what to execute.

    Raises:
        NotCovered: the command does not end up as such a Python.
        LaunchError: there is no such program.
    """

    def __init__(self, command: list[str]) -> None:
        rewritten = cover.command(find(command[0]), command)
        self._through, self._words = None, command
        if rewritten is not None:
            # A Python with -I, -E or -S, which reads our file by a script of ours.
            self.file, self._words = rewritten
        else:
            self.file, self._through = look_through(command)

    @property
    def says_settings(self) -> bool:
        """Whether a wrapper gets our variables in its arguments, which every user of the machine can read."""
        return self._through is not None and self._through.says_settings

    def words(self, environ: Mapping[str, str]) -> list[str]:
        """The command line, for a program with the variables ``environ``."""
        return self._words if self._through is None else self._through.with_environment(environ)


def _write_archives() -> None:
    """Write the archives (``archives``) where they are missing, or of other versions of the modules."""
    if archive.missing or not os.path.exists(archive.path_of("connection")):
        from pywrap.launch import archives

        archives.write()


def plain_environment(settings: Settings) -> dict[str, str]:
    """The environment of a program that is confined and not patched: patches cannot speak TLS to a hop."""
    variables = complete(os.environ)
    if settings.keep_env:
        return dict(variables)
    return {name: value for name, value in variables.items() if not is_proxy_variable(name)}


def _publications(publish: Sequence[str]) -> list[Publication]:
    if not publish:
        return []
    from pywrap.confine.publish import parse

    return [parse(text) for text in publish]


def _prefixed(settings: Settings, proxy: Proxy) -> Settings:
    """``settings`` with ``proxy`` before the others of the default chain."""
    default, *named = settings.chains
    return replace(settings, chains=(replace(default, proxies=(proxy, *default.proxies)), *named))
