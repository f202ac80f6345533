"""Files of an interpreter whose lines run before our start-up file: .pth, and .start of Python 3.15.

``site`` executes these files before it imports ``sitecustomize``. Their traffic leaves directly, unless the
program is confined.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess

# Seconds for an interpreter to start.
_PATIENCE = 10.0

# The code that asks an interpreter for its folders. Run with -S, so that none of these files is executed: an
# import of ``site`` then does nothing.
_ASK = """
import json, os, site, sys
prefixes = {sys.prefix, sys.exec_prefix}
users = site.check_enableusersite()
above = os.path.dirname(os.path.dirname(os.path.abspath(sys.executable)))
config = os.path.join(above, "pyvenv.cfg")
if os.path.isfile(config):
    with open(config, encoding="utf-8") as file:
        pairs = [line.partition("=") for line in file.read().lower().splitlines()]
    said = {key.strip(): value.strip() for key, _, value in pairs}
    shares = said.get("include-system-site-packages") == "true"
    prefixes, users = {above, *(prefixes if shares else ())}, users and shares
folders = site.getsitepackages(sorted(prefixes)) + ([site.getusersitepackages()] if users else [])
print(json.dumps([folders, sys.version_info[:2]]))
"""


def early_files() -> list[str]:
    """The paths of such files of the active venv, or else of the ``python3`` on $PATH; [] without either."""
    venv = os.environ.get("VIRTUAL_ENV")
    python = os.path.join(venv, "bin", "python") if venv else shutil.which("python3")
    return [] if python is None else files_of(python)


def files_of(python: str) -> list[str]:
    """The paths of such files of the interpreter ``python``."""
    command = [python, "-S", "-E", "-c", _ASK]
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL, check=True
        )
        folders, version = json.loads(said.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        # The file is no interpreter, or does not start; then no program will start by it either.
        return []
    found = []
    for folder in folders:
        found += _early(folder, tuple(version) >= (3, 15))
    return found


def _early(folder: str, reads_start: bool) -> list[str]:
    """The paths of such files in ``folder``. ``reads_start``: whether .start files are known (PEP 829)."""
    names = sorted(name for name in os.listdir(folder) if name[0] != ".") if os.path.isdir(folder) else []
    starts = {name for name in names if name.endswith(".start")} if reads_start else set()
    # The import lines of a .pth file are not executed where a .start file has the same name.
    paths = {name for name in names if name.endswith(".pth") and name[:-4] + ".start" not in starts}
    return [
        os.path.join(folder, name)
        for name in names
        if (name in paths and any(line.startswith(("import ", "import\t")) for line in _lines(folder, name)))
        or (name in starts and any(line.strip() and line[0] != "#" for line in _lines(folder, name)))
    ]


def _lines(folder: str, name: str) -> list[str]:
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="surrogateescape") as file:
            return file.readlines()
    except OSError:
        # ``site`` cannot read the file either.
        return []
