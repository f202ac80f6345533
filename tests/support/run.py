"""Runs programs as a user would: ``run(*pysocksify("-x", url), python, "app.py")``."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1]
PROGRAMS = TESTS / "programs"
ROOT = TESTS.parent

CONFINE = "PYSOCKSIFY_TEST_CONFINE"

VERSIONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
_THIS_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

# Beginnings of names: what they say to the user of the tests is not for a program under test,
# which would choose another proxy, none, or another authority.
_NOT_PASSED_ON = (
    *("pysocksify", "python"),
    *("all_proxy", "http_proxy", "https_proxy", "ftp_proxy", "no_proxy"),
    *("requests_ca_bundle", "curl_ca_bundle", "ssl_cert_"),
)


class Ran:
    """A program that has ended: ``status``, ``out`` and ``err``."""

    def __init__(self, command: tuple[str, ...], status: int, out: str, err: str) -> None:
        self.command = command
        self.status = status
        self.out = out
        self.err = err

    @property
    def json(self) -> Any:
        """The last line of stdout, which our programs write as JSON."""
        lines = self.out.splitlines()
        try:
            return json.loads(lines[-1])
        except (IndexError, ValueError):
            raise AssertionError(f"no JSON in the last line of stdout\n{self}") from None

    def __str__(self) -> str:
        return (
            f"$ {' '.join(self.command)}\n"
            f"status {self.status}\n"
            f"---- stdout\n{self.out or '(nothing)'}\n"
            f"---- stderr\n{self.err or '(nothing)'}"
        )


def run(
    *command: str | Path,
    env: Mapping[str, str | None] | None = None,
    timeout: float = 60,
    status: int | None = 0,
    cwd: str | Path | None = None,
    input: str = "",
) -> Ran:
    """Run ``command`` to its end, and fail with all that it said unless it ends with ``status``.

    ``env`` is added to a clean environment; None takes a variable away. With ``status`` None
    every end will do. What it left running in its process group is killed on a timeout.
    """
    assert not any(map(callable, command)), "a function is no word: source_of()"
    words = tuple(str(word) for word in command)
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="backslashreplace",
        env=environment(env),
        cwd=cwd,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(input, timeout)
    except BaseException as failure:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        if isinstance(failure, subprocess.TimeoutExpired):
            ran = Ran(words, process.returncode, out, err)
            raise AssertionError(f"not ended after {timeout} s\n{ran}") from None
        raise
    ran = Ran(words, process.returncode, out, err)
    if status is not None and ran.status != status:
        raise AssertionError(f"expected status {status}\n{ran}")
    return ran


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Ours without what would influence a program under test, and then ``changes``."""
    env: dict[str, str | None] = {
        name: value for name, value in os.environ.items() if not name.lower().startswith(_NOT_PASSED_ON)
    }
    env.update(changes or {})
    return {name: value for name, value in env.items() if value is not None}


def pysocksify(*options: str | Path) -> tuple[str, ...]:
    """The words of a command before the program: ``python -m pywrap`` and ``options``.

    With PYSOCKSIFY_TEST_CONFINE=on, tests of patched programs have them confined as well; those that
    are marked ``confined_too`` run in both ways without it.
    """
    confine = ("--confine", "on") if is_confined() else ()
    return (sys.executable, "-m", "pywrap", *confine, *map(str, options), "--")


def is_confined() -> bool:
    """Are the programs of this test patched and confined?"""
    return os.environ.get(CONFINE) == "on"


def program(name: str) -> tuple[str, str]:
    """This interpreter, which has the libraries, and ``tests/programs/name``."""
    path = PROGRAMS / name
    assert path.exists(), f"no such program: {path}"
    return sys.executable, str(path)


# ---------------------------------------------------------------- interpreters


@functools.cache
def interpreters() -> dict[str, str]:
    """The CPythons of ``VERSIONS`` on this machine: ``{"3.12": "/usr/bin/python3.12"}``.

    None of the tests' libraries can be expected in them.
    """
    found = {version: find_interpreter(version) for version in VERSIONS}
    return {version: path for version, path in found.items() if path}


def find_interpreter(version: str) -> str | None:
    """The CPython of ``version`` on this machine, or None."""
    for candidate in _candidates(version):
        if os.access(candidate, os.X_OK) and _is_cpython(candidate, version):
            return candidate
    return None


def _candidates(version: str) -> list[str]:
    name = f"python{version}"
    first = [sys.executable] if version == _THIS_VERSION else []
    pyenvs = [
        str(path) for root in _pyenv_roots() for path in sorted(root.glob(f"versions/{version}.*/bin/{name}"))
    ]
    fetched = [str(TESTS.parent / ".pythons" / "bin" / name)]
    on_path = [os.path.join(directory, name) for directory in os.get_exec_path()]
    return first + pyenvs + fetched + on_path + [f"/usr/local/bin/{name}", f"/usr/bin/{name}"]


@functools.cache
def _pyenv_roots() -> list[Path]:
    roots = [Path(root)] if (root := os.environ.get("PYENV_ROOT")) else []
    if pyenv := shutil.which("pyenv"):
        answer = subprocess.run([pyenv, "root"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        roots += [Path(line) for line in answer.stdout.splitlines()[:1]]
    return roots


def _is_cpython(path: str, version: str) -> bool:
    # pyenv's shims exist for versions that are not switched on, and fail when they are run.
    code = "import platform as p; print(p.python_implementation() + ' %s.%s' % p.python_version_tuple()[:2])"
    try:
        answer = subprocess.run(
            [path, "-Es", "-c", code], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return answer.stdout.split() == ["CPython", version]
