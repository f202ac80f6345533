"""What is behind the proxy of the confinement's tests, and how a confined program is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from tests.support.run import environment, interpreters

# Of the network behind the proxy, whose kernel refuses these in its own words.
UNREACHABLE, PROHIBITED, NO_NETWORK = "10.7.0.1", "10.8.0.1", "10.9.0.1"
UNREACHABLE_6, PROHIBITED_6, NO_NETWORK_6 = "fd00:7::1", "fd00:8::1", "fd00:9::1"
# Names that the proxy alone knows.
NAMES = {"four.test": "10.2.0.1", "six.test": "fd00:2::1", "twin.test": "10.2.0.1", "shut.test": "10.7.0.1"}

ECHO, GREETING, RESETTING, CLOSED, UDP_ECHO, UDP_CLOSED, HTTP = 7, 25, 26, 27, 9000, 9001, 80

# Of the web server with packages in it.
FILES = 8080
PAGE = "http://four.test/"
NOBODY = "65534"
NEVER_REACHED = "socks5h://192.0.2.99:1080"


def start(client, *program, options=("--confine", "on"), **how):
    """A confined program that is running."""
    how.setdefault("stdout", subprocess.PIPE)
    command = [*client.command(*options), *program]
    return subprocess.Popen(command, cwd=client.package, env=environment(), text=True, **how)


def need(name):
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")


def skip_where_forbidden(reason: str) -> None:
    """Where the machine forbids it; but CI's must not."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def python_of(user: str) -> str:
    """An interpreter that ``user`` may execute: a home directory's is root's alone."""
    candidates = [sys.executable, *interpreters().values(), "/usr/bin/python3"]
    for python in candidates:
        command = (python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))")
        if subprocess.run([*as_user(user), *command], capture_output=True).returncode == 0:
            return python
    skip_where_forbidden(f"no Python 3.11 or later that {user} may execute")
    raise AssertionError("skipped")


def as_user(user: str) -> tuple[str, ...]:
    """The words before a command that ``user`` is to run."""
    if user == "root":
        return ()
    # Not setpriv itself: it keeps root's capabilities until it executes something.
    return ("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "env", "HOME=/nonexistent")
