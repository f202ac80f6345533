"""Scripts for a shell that set some variables and then turn into a Python: of Nix, conda and the like.

Each line has to be of a form that is understood: a comment, ``set``, an assignment, ``export``, and as the
last one ``exec PROGRAM … "$@"``. What else a script may do is not known, nor whether it goes out directly.
"""

from __future__ import annotations

import os
import shlex

SHELLS = ("sh", "bash", "dash", "ash", "ksh", "zsh")

# No script of the kind is longer. It holds lists of packages, with Nix.
LONGEST = 1 << 16

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_")

# Ways to say the folder that the script is in.
_FOLDERS = (
    *(f'$(dirname {dashes}"$0")' for dashes in ("", "-- ")),
    *(f"$(dirname {dashes}$0)" for dashes in ("", "-- ")),
    "${0%/*}",
)


def started_by(file: str) -> list[str] | None:
    """The program that ``file`` turns into, with its arguments before those of ``file``; None if unclear."""
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
        # Which file that is depends on what the script makes of $PATH.
        return None
    return started


def _is_harmless(line: str) -> bool:
    """Does ``line`` set variables or options of the shell, and leave ours alone?"""
    if line.startswith("set "):
        return not any(mark in line for mark in ";&|`$(")
    line = line.removeprefix("export ").rstrip(";").strip()
    name, equals, value = line.partition("=")
    if not name or not _LETTERS.issuperset(name) or name == "PYSOCKSIFY_SETTINGS":
        return False
    # What runs something, or goes on behind the value.
    if any(mark in value for mark in ("`", "$(", ";", "&", "|", "<", ">")):
        return False
    try:
        words = shlex.split(value)
    except ValueError:
        return False
    # `A=1 program`
    return len(words) <= 1 and (name != "PYTHONPATH" or not equals or _leaves_ours(value, words))


def _leaves_ours(value: str, words: list[str]) -> bool:
    """Is our folder still on the PYTHONPATH of this ``value``, and its sitecustomize the first?"""
    folders = (words or [""])[0].split(os.pathsep)
    return "PYTHONPATH" in value and not any(
        os.path.exists(os.path.join(folder, "sitecustomize.py")) for folder in folders if folder
    )


def _exec(line: str, folder: str) -> list[str] | None:
    for written in _FOLDERS:
        line = line.replace(written, folder)
    if any(mark in line for mark in ("`", "$(", ";", "&", "|", "<", ">")):
        return None
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    if words[:1] != ["exec"]:
        return None
    words = words[3:] if words[1:2] == ["-a"] else words[1:]
    if words[-1:] != ["$@"] or any("$" in word for word in words[:-1]) or len(words) < 2:
        return None
    return words[:-1]
