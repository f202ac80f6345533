"""Finds out whether PROGRAM becomes a Python interpreter that reads our start-up file, and refuses it if not.

Wrappers (``wrappers``) and shell scripts that only start a Python (``scripts``) are followed to the program
that they start. Only the command line and the first lines of files are read; nothing is run, except that a
version manager (pyenv) is asked which file its shim stands for. If an interpreter is too old to be covered,
the start-up file itself ends it (``startup/sitecustomize.py``).
"""

from __future__ import annotations

import errno
import os

from pywrap import archive
from pywrap.launch.launch_error import CANNOT_RUN, NOT_FOUND, LaunchError, NotCovered
from pywrap.programs import cover
from pywrap.programs.python import is_python_name, is_too_old, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.launch.wrappers import Command

# Why these errors are seen at all: without `--confine off` such a program is confined.
HINT = "`--confine auto` runs it in a network namespace whose only way out is through the proxies"

# How many bytes of a file are read.
ENOUGH = 4096
# How many scripts may start each other: a shim, a wrapper of Nix, a wrapper of the project.
MOST_SCRIPTS = 5


def look_through(words: list[str]) -> tuple[str, Command | None]:
    """The file to execute for the command line ``words``; and its ``Command``, None where it has no wrapper.

    Raises:
        LaunchError: the command does not become a Python that reads our start-up file, so its traffic would
            leave directly; or there is no such file.
    """
    file = inner = find(words[0])
    if _is_for_python(file):
        check(file, words[1:])
        return file, None
    # Imported here, as most commands begin with their Python.
    archive.read("wrapper")
    from pywrap.launch.wrappers import Command

    command = Command(words)
    while not _is_for_python(inner) and command.enter():
        if command.is_python:
            return file, command
        word = command.words[command.at]
        inner = find(word, command.path, command.folder)
        if command.has_other_path and "/" not in word:
            # Make the wrapper execute the file that was examined here: it may search another path.
            command.words[command.at] = os.path.abspath(inner)
    if command.folder:
        inner = os.path.abspath(inner)
    isolated = cover.command(inner, command.words[command.at :])
    if isolated is None:
        check(inner, command.words[command.at + 1 :])
    else:
        # The wrapper runs a Python with -I, -E or -S.
        _refuse_unknown(isolated[0])
        command.words[command.at :] = isolated[1]
    return file, command


def find(name: str, path: str | None = None, folder: str = "") -> str:
    """The file that execvp(3) would find for ``name``.

    ``path``: the folders to search, by default $PATH. ``folder``: where a relative name begins, by default
    in the current folder.

    Raises:
        LaunchError: there is no such file (status 127), or it cannot be executed (126).
    """
    if "/" in name:
        candidates = [os.path.join(folder, name)]
    else:
        folders = (os.environ.get("PATH", os.defpath) if path is None else path).split(os.pathsep)
        candidates = [os.path.join(folder or ".", name) for folder in folders]
    found = [candidate for candidate in candidates if os.path.exists(candidate)]
    if not found:
        raise LaunchError(f"program not found: {name}", "", NOT_FOUND)
    for candidate in found:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    if os.path.isdir(found[0]):
        raise LaunchError(f"program is a directory: {found[0]}")
    hint = f"try `pysocksify python {name}`, or chmod +x" if name.endswith(".py") else ""
    raise LaunchError(f"program is not executable: {found[0]}", hint)


def check(file: str, arguments: list[str]) -> None:
    """Make sure that ``file``, run with ``arguments``, is a Python that reads our start-up file.

    Raises:
        NotCovered: it is no such Python, and its traffic would leave directly.
    """
    seen = 0
    while True:
        if seen > MOST_SCRIPTS:
            raise _not_python(file, "a script that starts itself")
        head = _head(file)
        if head.startswith(b"#!"):
            words = _shebang(file, head)
            if not is_python_name(words[0]):
                shim = _pyenv_shim(file, head)
                if shim is not None:
                    file, seen = shim, seen + 1
                    continue
                if is_python_name(file):
                    # A wrapper script called like an interpreter passes its arguments on to one.
                    _refuse_blind(arguments, file)
                    return
                from pywrap.launch.scripts import SHELLS, started_by

                started = started_by(file) if os.path.basename(words[0]) in SHELLS else None
                if started is not None:
                    file, seen = find(started[0]), seen + 1
                    arguments = [*started[1:], *arguments]
                    continue
                raise _not_python(file, f"a script for `{os.path.basename(words[0])}`")
            _refuse_blind(words[1:], file)
            _refuse_unknown(words[0])
            return
        if is_python_name(file) or is_python_name(os.path.realpath(file)):
            _refuse_blind(arguments, file)
            _refuse_unknown(file)
            return
        raise _not_python(file, "a binary" if head.startswith(b"\x7fELF") else "a file without a `#!` line")


def blind_option(arguments: list[str]) -> str:
    """The option in an interpreter's ``arguments`` with which it ignores our start-up file; "" for none."""
    letter = parse(arguments).blind
    return f"-{letter}" if letter else ""


def _refuse_blind(arguments: list[str], file: str) -> None:
    option = blind_option(arguments)
    if option:
        raise NotCovered(
            f"`{os.path.basename(file)}` runs Python with `{option}`, which ignores pysocksify",
            HINT,
            leaves=True,
        )


def _refuse_unknown(file: str) -> None:
    """Refuse an interpreter that the patches do not support, if its name shows that (PyPy and others).

    Raises:
        NotCovered: it would end by itself, with a worse message.
    """
    if is_too_old(file):
        name = os.path.basename(os.path.realpath(file))
        raise NotCovered(
            f"`{file}` is {name}, not CPython 3.11 or later",
            HINT,
            leaves=True,
        )


def _not_python(file: str, what: str) -> NotCovered:
    return NotCovered(f"`{file}` is {what}, not a Python program", HINT, leaves=True)


def _head(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read(ENOUGH)
    except OSError as err:
        if err.errno == errno.ENOENT:
            raise LaunchError(f"program not found: {file}", "", NOT_FOUND) from err
        raise NotCovered(f"cannot read {file}: {err.strerror}", "", CANNOT_RUN) from err


def _shebang(file: str, head: bytes) -> list[str]:
    """The interpreter in the `#!` line of ``file``, and the arguments that it gets before the file."""
    lines = head.decode("utf-8", "surrogateescape").split("\n", 2)
    # The kernel splits the line once: the text after the first blank is one argument.
    words = lines[0][2:].strip().split(None, 1)
    if not words:
        raise LaunchError(f"`{file}` has an empty `#!` line")
    if os.path.basename(words[0]) == "env":
        return _env_command(file, words[1:])
    if os.path.basename(words[0]) == "sh" and len(lines) > 1 and lines[1].startswith("'''exec'"):
        # pip and uv write this when the `#!` line would exceed the kernel's limit.
        command = _split(file, lines[1])[1:]
        return command[: command.index("$0")] if "$0" in command else command
    return words


def _env_command(file: str, arguments: list[str]) -> list[str]:
    """The words that ``#!/usr/bin/env …`` executes."""
    text = arguments[0] if arguments else ""
    for split in ("-S", "--split-string=", "-vS"):
        if text.startswith(split):
            words = _split(file, text[len(split) :])
            break
    else:
        words = [text]
    while words and (words[0].startswith("-") or "=" in words[0]):
        option = words.pop(0)
        if option in ("-i", "-", "--ignore-environment") or option.startswith(("-u", "--unset")):
            raise NotCovered(f"the `#!` line of `{file}` takes pysocksify's settings out of the environment")
    return words or [""]


def _split(file: str, text: str) -> list[str]:
    # Imported here, as most programs do not need it and it takes long.
    import shlex

    try:
        return shlex.split(text)
    except ValueError as err:
        raise LaunchError(f"cannot read the first lines of `{file}`: {err}") from err


def _is_for_python(file: str) -> bool:
    """Whether ``file`` is called like an interpreter, or is a script with one in its `#!` line."""
    head = _head(file)
    return is_python_name(file) or (head.startswith(b"#!") and is_python_name(_shebang(file, head)[0]))


def _pyenv_shim(file: str, head: bytes) -> str | None:
    """The file that a shim of pyenv or asdf runs; None when ``file`` is no shim."""
    for line in head.decode("utf-8", "surrogateescape").splitlines():
        managed = any(manager in line for manager in ("pyenv", "asdf"))
        if line.startswith("exec ") and managed and ' exec "' in line:
            import subprocess

            manager = _split(file, line)[1]
            name = os.path.basename(file)
            asked = subprocess.run([manager, "which", name], capture_output=True, text=True)
            if asked.returncode:
                shown = os.path.basename(manager)
                raise LaunchError(f"{shown} has no `{name}`: {asked.stderr.strip()}", "", NOT_FOUND)
            return asked.stdout.strip()
    return None
