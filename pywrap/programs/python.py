"""Recognizes Python interpreters, and reads the command line of one (python(1))."""

from __future__ import annotations

import os

from pywrap.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Options that take the rest of their word, or the next word, as their argument.
WITH_ARGUMENT = "WX"
# Options after which no option follows: the words behind their argument belong to the program.
LAST = "cm"
# Options with which Python ignores PYTHONPATH or sitecustomize, and so our start-up file.
BLIND = "IES"

# The kinds of programs that an interpreter runs.
CODE = "code"  # -c
MODULE = "module"  # -m
SCRIPT = "script"
STDIN = "stdin"  # nothing, or -


@frozen
class PythonCommand:
    """The command line of an interpreter, without its name.

    ``options``: the words before the program. ``letters``: the short options among them, each once. ``mode``:
    the kind of program: CODE, MODULE, SCRIPT or STDIN. ``target``: the code, the module or the file; "" or
    "-" for STDIN. ``arguments``: the program's own. ``written``: all words before those, unchanged.
    """

    options: tuple[str, ...]
    letters: str
    mode: str
    target: str
    arguments: tuple[str, ...]
    written: tuple[str, ...]

    @property
    def blind(self) -> str:
        """The letter of an option with which Python ignores our start-up file; "" when there is none."""
        return next((letter for letter in self.letters if letter in BLIND), "")


def parse(words: Sequence[str]) -> PythonCommand:
    """Read the words after the interpreter's name, as CPython's own getopt does."""
    letters = ""
    at = 0
    while at < len(words):
        word = words[at]
        if word == "-" or not word.startswith("-"):
            mode = STDIN if word == "-" else SCRIPT
            return _command(words, at, letters, mode, word, at + 1)
        if word == "--":
            # `--` ends the options; a script may follow.
            rest = words[at + 1 :]
            mode = SCRIPT if rest else STDIN
            return _command(words, at, letters, mode, "".join(rest[:1]), at + 1 + len(rest[:1]))
        if word.startswith("--"):
            at += 2 if word == "--check-hash-based-pycs" else 1
            continue
        options = tuple(words[:at])
        for place, letter in enumerate(word[1:], 2):
            if letter in LAST:
                if place > 2:
                    options += (word[: place - 1],)
                attached = word[place:]
                end = at + 1 if attached else at + 2
                target = attached or "".join(words[at + 1 : end])
                mode = CODE if letter == "c" else MODULE
                return PythonCommand(options, letters, mode, target, tuple(words[end:]), tuple(words[:end]))
            if letter not in letters:
                letters += letter
            if letter in WITH_ARGUMENT:
                if not word[place:]:
                    at += 1
                break
        at += 1
    return _command(words, len(words), letters, STDIN, "", len(words))


def _command(
    words: Sequence[str], options: int, letters: str, mode: str, target: str, end: int
) -> PythonCommand:
    return PythonCommand(
        tuple(words[:options]), letters, mode, target, tuple(words[end:]), tuple(words[:end])
    )


def is_python_name(file: str) -> bool:
    """Whether ``file``, a path, has the name of an interpreter: python, python3, python3.13t, pypy3."""
    name = os.path.basename(file)
    for family in ("python", "pypy"):
        if name.startswith(family):
            return name[len(family) :].rstrip("tdm").replace(".", "", 1).isdigit() or name == family
    return False


def is_too_old(file: str) -> bool:
    """Whether the name of ``file``, an interpreter, shows that the patches do not support it."""
    name = os.path.basename(os.path.realpath(file))
    return name.startswith(("python2", "pypy")) or name in _OLD


_OLD = {f"python3.{minor}" for minor in range(11)}

# How many bytes of a file are read: Linux itself reads no more of a `#!` line (BINPRM_BUF_SIZE).
_HEAD = 256
# The results of ``interpreter_of`` by path: inode, time and size of the file, and the result for it.
_interpreters: dict[str, tuple[tuple[int, int, int], tuple[str, ...] | None]] = {}
_MOST = 256


def interpreter_of(file: str) -> tuple[str, ...] | None:
    """The words that the kernel puts before the arguments of ``file``; None when it is not run by a Python.

    (): ``file`` is an interpreter itself. For a script: its interpreter, the argument of its `#!` line, and
    the file. The result is remembered until the file changes.
    """
    try:
        status = os.stat(file)
        identity = status.st_ino, status.st_mtime_ns, status.st_size
        known = _interpreters.get(file)
        if known is not None and known[0] == identity:
            return known[1]
        found = _interpreter_of(file)
    except OSError:
        # exec will fail as well, and the program gets its error.
        return None
    if len(_interpreters) >= _MOST:
        _interpreters.clear()
    _interpreters[file] = identity, found
    return found


def _interpreter_of(file: str) -> tuple[str, ...] | None:
    with open(file, "rb") as opened:
        head = opened.read(_HEAD)
    if not head.startswith(b"#!"):
        is_python = is_python_name(file) or is_python_name(os.path.realpath(file))
        return () if is_python and head.startswith(b"\x7fELF") else None
    words = head.split(b"\n", 1)[0][2:].decode("utf-8", "surrogateescape").strip().split(None, 1)
    if words and os.path.basename(words[0]) == "env":
        # env(1) with other options is not followed: it will execute the interpreter as a program of its own.
        inside = words[1].split() if len(words) > 1 else [""]
        words = [_on_path(inside[0]), *inside[1:]] if len(inside) == 1 else []
    if words and is_python_name(words[0]):
        return (*words, file)
    return None


def _on_path(name: str) -> str:
    for folder in os.get_exec_path():
        file = os.path.join(folder, name)
        if os.access(file, os.X_OK):
            return file
    return name
