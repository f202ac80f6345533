"""Shell scripts that set some variables and then exec a Python, as those of Nix and conda do.

Each line must be of a known form: a comment, ``set``, an assignment, ``export``, and as the last one
``exec PROGRAM … "$@"``. A script with any other line is not followed: it may make connections itself.
"""

from __future__ import annotations

import os

SHELLS = ("sh", "bash", "dash", "ash", "ksh", "zsh")

# Bytes to read: such scripts are not longer, even those of Nix, which have lists of packages.
LONGEST = 1 << 16

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")

# Expressions for the folder that the script is in.
_FOLDERS = (
    *(f'$(dirname {dashes}"$0")' for dashes in ("", "-- ")),
    *(f"$(dirname {dashes}$0)" for dashes in ("", "-- ")),
    "${0%/*}",
)


def started_by(file: str) -> list[str] | None:
    """The program that ``file`` execs, and its arguments before those of ``file``; None if unknown."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as script:
            lines = [line.strip() for line in script.read(LONGEST).splitlines()[1:]]
    except OSError:
        return None
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines or not all(_is_harmless(line) for line in lines[:-1]):
        return None
    started = _exec(lines[-1], os.path.dirname(os.path.abspath(file)))
    if started is not None and "/" not in started[0] and any("PATH=" in line for line in lines[:-1]):
        # The script changes $PATH, so the program is not known.
        return None
    return started


def _is_harmless(line: str) -> bool:
    """Whether ``line`` only sets variables or options of the shell, and none of our variables."""
    if line.startswith("set "):
        return not any(mark in line for mark in ";&|`$(")
    line = line.removeprefix("export ").rstrip(";").strip()
    name, equals, value = line.partition("=")
    if not name or not _LETTERS.issuperset(name) or name == "PYSOCKSIFY_SETTINGS":
        return False
    words = _plain_words(value)
    # More than one word: `A=1 program`.
    return (
        words is not None
        and len(words) <= 1
        and (name != "PYTHONPATH" or not equals or _leaves_ours(value, words))
    )


def _plain_words(text: str) -> list[str] | None:
    """The words of ``text``; None if it runs a command, has more commands after it, or redirects."""
    if any(mark in text for mark in ("`", "$(", ";", "&", "|", "<", ">")):
        return None
    # Imported for scripts only: it imports re, which takes longer than all the rest of a start.
    import shlex

    try:
        return shlex.split(text)
    except ValueError:
        return None


def _leaves_ours(value: str, words: list[str]) -> bool:
    """Whether PYTHONPATH, set to ``value``, still has our folder, and its sitecustomize is the first one."""
    folders = (words or [""])[0].split(os.pathsep)
    return "PYTHONPATH" in value and not any(
        os.path.exists(os.path.join(folder, "sitecustomize.py")) for folder in folders if folder
    )


def _exec(line: str, folder: str) -> list[str] | None:
    for written in _FOLDERS:
        line = line.replace(written, folder)
    words = _plain_words(line)
    if words is None or words[:1] != ["exec"]:
        return None
    words = words[3:] if words[1:2] == ["-a"] else words[1:]
    if words[-1:] != ["$@"] or any("$" in word for word in words[:-1]) or len(words) < 2:
        return None
    return words[:-1]
