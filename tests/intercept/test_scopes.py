"""IPv6 addresses of one link keep their scope in every call, as without us."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import peers
from tests.support.run import PROGRAMS, environment, pysocksify, run

LINK = "near"
MAKE = (
    f"ip link set lo up && ip link add {LINK} type veth peer name other && ip link set {LINK} up && "
    f"ip link set other up && ip addr add fe80::77/64 dev {LINK} nodad"
)


@pytest.fixture
def alone():
    """What to put before a command to run it in a network of its own, which has a link."""
    unshare = peers.find("unshare", package="util-linux")
    words = (unshare, "--user", "--map-root-user", "--net", "sh", "-c")
    if subprocess.run([*words, MAKE], capture_output=True, env=environment()).returncode:
        pytest.skip("a network namespace of one's own is not allowed here")
    return *words, f'{MAKE} && exec "$@"', "sh"


def test_every_call_keeps_it(alone):
    program = (sys.executable, PROGRAMS / "scopes.py", LINK)
    plain = run(*alone, *program).json
    ours = run(*alone, *pysocksify("-x", "socks5h://127.0.0.1:1"), *program).json
    assert ours == plain
    assert f"%{LINK}" in str(plain["names"])
    assert plain["streams"][1] == ["fe80::77", 0, 0, plain["streams"][1][3]]
    assert plain["streams"][1][3] > 0
