"""Which configuration file is read, and the settings that result from it.

The first of these that exists, and no other:

1. the file that was named: ``-f FILE``, ``install(config=FILE)``
2. ``$PYSOCKSIFY_CONF``
3. ``$XDG_CONFIG_HOME/pysocksify/pysocksify.conf``, by default in ``~/.config``
4. ``/etc/pysocksify.conf``

A file in the current folder is not read: it may be another user's, and one line in a file can send all
traffic directly. The last two (the default files) are read only when no proxy was given (``-x``,
``install(proxy)``): a file that was not named adds neither rules nor modes to a proxy that was, and its
errors do not matter. As with proxychains-ng, the user is told which file is in use, unless ``-f`` names it.
If a default file is not read because of a proxy, the user is told that too, since its rules do not apply.

A file that is named and missing is an error: proxychains-ng takes the next one, which could send the traffic
another way than the user said. Other errors are a file that exists and cannot be read, and a default file
that another user may write to.
"""

from __future__ import annotations

import os
import stat
import sys

from pywrap.config.config_error import ConfigError
from pywrap.config.formats import parse
from pywrap.config.partial_settings import PartialSettings, combine, leaves_nothing, settle
from pywrap.config.route_rules import format_route
from pywrap.config.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    # A function that prints one line of text for the user.
    Say: TypeAlias = Callable[[str], None]

VARIABLE = "PYSOCKSIFY_CONF"
NAME = "pysocksify.conf"
SYSTEM_DIRECTORY = "/etc"

# In bytes. A list of a hundred thousand proxies is shorter; a longer file, such as /dev/zero, may have no
# end.
_LONGEST = 16 << 20


def load(
    partial: PartialSettings | None = None,
    named: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file_format: str | None = None,
    system_directory: str = SYSTEM_DIRECTORY,
    say: Say | None = None,
) -> Settings:
    """Settings from ``partial``, which comes first, and from the configuration file.

    ``named``: the path that the user gave, if any; ``file_format``: one of ``formats.FORMATS``, None to find
    out. ``say`` is called with the line about the file in use.

    Raises:
        ConfigError: the file is missing, unreadable or wrong, there is no proxy, or two settings contradict
            each other.
    """
    lines: list[str] = []
    said = gather(
        partial,
        named,
        environ=environ,
        file_format=file_format,
        system_directory=system_directory,
        say=lines.append,
    )
    settings = settle(said)
    # Printed after ``settle``: if that fails, no file is in use.
    if say is not None:
        for line in lines:
            say(line)
    return settings


def gather(
    partial: PartialSettings | None = None,
    named: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file_format: str | None = None,
    system_directory: str = SYSTEM_DIRECTORY,
    say: Say | None = None,
) -> PartialSettings:
    """Combine ``partial`` and the configuration file; print the warnings of the file to stderr.

    The arguments are those of ``load``.

    Raises:
        ConfigError: the file is missing, unreadable or wrong, there is no proxy, or ``file_format`` is given
            and no file is read.
    """
    environ = os.environ if environ is None else environ
    arguments = partial or PartialSettings()
    path = _named(named, environ)
    if path is None and arguments.proxies is None:
        path = _unnamed(environ, system_directory)
    if path is None and file_format is not None:
        raise no_file(file_format)
    said = combine(arguments, PartialSettings() if path is None else read(path, file_format))
    # With ``proxies=()`` in ``partial`` the launcher adds a proxy itself (-x embedded).
    if not said.proxies and arguments.proxies is None:
        if not leaves_nothing(said.rules):
            where = "" if path is None else f": there is none in {path}"
            raise ConfigError(f"no proxy configured{where}", _hint_no_proxy(path, environ, system_directory))
        if said.dns is not None and said.dns not in ("remote", "local"):
            raise ConfigError(
                f"{said.origins['dns']}: no proxy configured for `dns {said.dns}`",
                _hint_no_proxy(path, environ, system_directory),
            )
        for rule in said.rules:
            if not rule.to:
                raise ConfigError(
                    f"{said.origins[rule]}: no proxy configured for `route {format_route(rule)}`",
                    _hint_no_proxy(path, environ, system_directory),
                )
    if (said.verbosity or 0) >= 0:
        for warning in said.warnings:
            print(f"pysocksify: warning: {warning}", file=sys.stderr)
    if say is not None and (line := _announcement(path, named, environ, system_directory)):
        say(line)
    return said


def _named(named: str | None, environ: Mapping[str, str]) -> str | None:
    """The path of the file that the user named, or None.

    Raises:
        ConfigError: it is missing.
    """
    if named is not None:
        _stat(named, "")
        return named
    # An empty variable counts as unset, so that `PYSOCKSIFY_CONF= command` has no file named.
    if path := environ.get(VARIABLE):
        _stat(path, f" (${VARIABLE})")
        return path
    return None


def _unnamed(environ: Mapping[str, str], system_directory: str) -> str | None:
    """The path of the user's default file, else of the system's, or None when neither exists.

    Raises:
        ConfigError: a file cannot be examined, or another user may write to it.
    """
    path = next((path for path in _default_paths(environ, system_directory) if _exists(path)), None)
    if path is not None:
        _check_owner(path)
    return path


def _announcement(
    path: str | None, named: str | None, environ: Mapping[str, str], system_directory: str
) -> str:
    """The line for the user about the file that is in use, or that is not; "" when there is no need."""
    if named is not None:
        return ""
    if path is not None:
        return f"settings from {path}"
    for ignored in _default_paths(environ, system_directory):
        if os.path.lexists(ignored):
            return f"not in use besides the proxy that was given: {ignored} (`-f {ignored}` for both)"
    return ""


def _check_owner(path: str) -> None:
    """Refuse a default file that another user may write to, as ssh does with its configuration.

    Raises:
        ConfigError: the file belongs to another user (but root), or all users may write to it.
    """
    try:
        status = os.stat(path)
    except OSError as err:
        raise _unreadable(path, err) from None
    hint = f"if it is right, name it: `-f {path}`"
    if status.st_uid not in (0, os.geteuid()):
        raise ConfigError(f"the configuration file {path} belongs to another user", hint)
    if status.st_mode & stat.S_IWOTH:
        raise ConfigError(f"any user may write to the configuration file {path}", f"`chmod o-w`; {hint}")


def read(path: str, file_format: str | None = None) -> PartialSettings:
    """Read the configuration file at ``path``. ``file_format``: one of ``formats.FORMATS``, None to find out.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            data = file.read(_LONGEST + 1)
            has_no_writer = not data and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
    except OSError as err:
        raise _unreadable(path, err) from None
    if has_no_writer:
        # Not the same as an empty file: the rules that the user meant to give would be missing.
        raise ConfigError(f"cannot read the configuration file {path}: no process writes to this pipe")
    if len(data) > _LONGEST:
        raise ConfigError(f"cannot read the configuration file {path}: more than {_LONGEST >> 20} MiB")
    return parse(data, path, file_format)


def _open(path: str, flags: int) -> int:
    """Open ``path``; a FIFO without waiting for a process that opens it for writing."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(fd, True)
    return fd


def has_file(environ: Mapping[str, str] = os.environ, system_directory: str = SYSTEM_DIRECTORY) -> bool:
    """Whether there is a configuration file that is read without ``-f``, be it right or wrong."""
    paths = _default_paths(environ, system_directory)
    return bool(environ.get(VARIABLE)) or any(map(os.path.lexists, paths))


def default_path(environ: Mapping[str, str]) -> str:
    """The path of the user's default file, whether it exists or not; "" without a home."""
    user = _user_directory(environ)
    return f"{user}/pysocksify/{NAME}" if user else ""


def _default_paths(environ: Mapping[str, str], system_directory: str) -> list[str]:
    own = default_path(environ)
    return [*([own] if own else []), f"{system_directory}/{NAME}"]


def _user_directory(environ: Mapping[str, str]) -> str:
    # XDG Base Directory Specification: a path that is not absolute is to be ignored.
    directory = environ.get("XDG_CONFIG_HOME", "")
    if directory.startswith("/"):
        return directory.rstrip("/")
    home = environ.get("HOME", "")
    return f"{home.rstrip('/')}/.config" if home.startswith("/") else ""


def _exists(path: str) -> bool:
    try:
        # lstat: a dangling link counts as a file, and reading it then is an error.
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as err:
        raise _unreadable(path, err) from None
    return True


def _stat(path: str, source: str) -> None:
    try:
        os.stat(path)
    except OSError as err:
        raise _unreadable(path, err, source) from None
    except ValueError:
        raise ConfigError(f"cannot read the configuration file{source}: a NUL in its name") from None


def no_file(file_format: str) -> ConfigError:
    """The error for a ``file_format`` that was given when no file is read."""
    return ConfigError(f"no configuration file in the format `{file_format}`", "`-f FILE` names one")


def _unreadable(path: str, err: OSError, source: str = "") -> ConfigError:
    return ConfigError(f"cannot read the configuration file {path}{source}: {err.strerror}")


def _hint_no_proxy(path: str | None, environ: Mapping[str, str], system_directory: str) -> str:
    if path is None and os.path.lexists(NAME):
        return f"`-f {NAME}` reads the file of the current folder, which is never read by itself"
    if path is not None:
        return f"name one with `-x socks5h://HOST:PORT`, or below [ProxyList] in {path}"
    places = " or ".join(_default_paths(environ, system_directory))
    # Two lines, for a user that has just installed it.
    return (
        "for one run: pysocksify -x socks5h://HOST:PORT PROGRAM; for all: [ProxyList] in "
        f"{places}\nhint: `pysocksify --init` looks for the proxies of this machine, and writes that file"
    )
