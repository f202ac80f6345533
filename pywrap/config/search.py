"""Which configuration file counts, and the settings that result from it.

The first of these, and no other:

1. the file that was named: ``-f FILE``, ``install(config=FILE)``
2. ``$PYSOCKSIFY_CONF``
3. ``./pysocksify.conf``
4. ``$XDG_CONFIG_HOME/pysocksify/pysocksify.conf``, by default in ``~/.config``
5. ``/etc/pysocksify.conf``

A file that is named and missing stops everything: to take the next one, as proxychains-ng does, could send
the traffic another way than the user said. So does a file that is there and cannot be read.
"""

from __future__ import annotations

import os
import stat
import sys

from pywrap.config.formats import parse
from pywrap.config.partial_settings import PartialSettings, combine, leaves_nothing, settle
from pywrap.config.rules import format_route
from pywrap.config.settings import Settings
from pywrap.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "PYSOCKSIFY_CONF"
NAME = "pysocksify.conf"
SYSTEM_DIRECTORY = "/etc"


def load(
    partial: PartialSettings | None = None,
    named: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file_format: str | None = None,
    system_directory: str = SYSTEM_DIRECTORY,
) -> Settings:
    """Settings from ``partial``, which come first, and from the configuration file.

    Raises:
        ConfigError: the file is missing, unreadable or wrong, nobody names a proxy, or what is said does
            not fit together.
    """
    said = gather(partial, named, environ=environ, file_format=file_format, system_directory=system_directory)
    return settle(said)


def gather(
    partial: PartialSettings | None = None,
    named: str | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    file_format: str | None = None,
    system_directory: str = SYSTEM_DIRECTORY,
) -> PartialSettings:
    """What ``partial`` and the configuration file say together; prints the warnings of the file.

    Raises:
        ConfigError: the file is missing, unreadable or wrong, nobody names a proxy, or there is no file that
            ``file_format`` could be the format of.
    """
    environ = os.environ if environ is None else environ
    path = find(named, environ, system_directory)
    if path is None and file_format is not None:
        raise no_file(file_format)
    arguments = partial or PartialSettings()
    said = combine(arguments, PartialSettings() if path is None else read(path, file_format))
    # To give none says that the launcher brings one.
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
    return said


def find(named: str | None, environ: Mapping[str, str], system_directory: str) -> str | None:
    """The path of the file that counts, or None when no file was named and none is there.

    Raises:
        ConfigError: the named file is missing, or it cannot be told whether a file is there.
    """
    if named is not None:
        _stat(named, "")
        return named
    # Empty is unset, so that `PYSOCKSIFY_CONF= command` takes it back.
    if path := environ.get(VARIABLE):
        _stat(path, f" (${VARIABLE})")
        return path
    return next((path for path in _default_paths(environ, system_directory) if _exists(path)), None)


def read(path: str, file_format: str | None = None) -> PartialSettings:
    """Read the configuration file at ``path``, whose format is found out unless it is given.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong.
    """
    try:
        with open(path, "rb", opener=_open) as file:
            data = file.read()
            nobody_writes = not data and stat.S_ISFIFO(os.fstat(file.fileno()).st_mode)
    except OSError as err:
        raise _unreadable(path, err) from None
    if nobody_writes:
        # Not an empty file, whose rules would be none.
        raise ConfigError(f"cannot read the configuration file {path}: nobody writes to this pipe")
    return parse(data, path, file_format)


def _open(path: str, flags: int) -> int:
    """Open ``path`` without waiting for somebody who writes to it: a FIFO may have none, for ever."""
    fd = os.open(path, flags | os.O_NONBLOCK)
    os.set_blocking(fd, True)
    return fd


def _default_paths(environ: Mapping[str, str], system_directory: str) -> list[str]:
    paths = [f"./{NAME}"]
    if user := _user_directory(environ):
        paths.append(f"{user}/pysocksify/{NAME}")
    return [*paths, f"{system_directory}/{NAME}"]


def _user_directory(environ: Mapping[str, str]) -> str:
    # XDG Base Directory Specification: a path that is not absolute is to be ignored.
    directory = environ.get("XDG_CONFIG_HOME", "")
    if directory.startswith("/"):
        return directory.rstrip("/")
    home = environ.get("HOME", "")
    return f"{home.rstrip('/')}/.config" if home.startswith("/") else ""


def _exists(path: str) -> bool:
    try:
        # lstat: a link to nowhere is a file that somebody wanted to be read.
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
    """The error of a format that was given for nothing."""
    return ConfigError(f"no configuration file in the format `{file_format}`", "`-f FILE` names one")


def _unreadable(path: str, err: OSError, source: str = "") -> ConfigError:
    return ConfigError(f"cannot read the configuration file {path}{source}: {err.strerror}")


def _hint_no_proxy(path: str | None, environ: Mapping[str, str], system_directory: str) -> str:
    places = [path] if path else _default_paths(environ, system_directory)
    return f"name one with `-x socks5h://HOST:PORT`, or below [ProxyList] in {' or '.join(places)}"
