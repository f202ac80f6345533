"""Children that are Pythons are tunnelled, however they are started, and their flags mean what they say."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support.run import PROGRAMS, pysocksify, run
from tests.support.servers import reference_server


@pytest.fixture
def proxy():
    with reference_server() as server:
        yield server


def test_every_child_is_tunnelled_and_sees_what_it_would_see_without_us(
    interpreter, proxy, sink_server, tmp_path
):
    program = (interpreter, "-W", "ignore", PROGRAMS / "start_children.py")
    plain, ours = ((tmp_path / name) for name in ("plain", "ours"))
    plain.mkdir()
    ours.mkdir()
    through = pysocksify("-x", proxy.url(), "--loopback", "proxy")
    found = run(*through, *program, "127.0.0.1", sink_server.port, ours).json
    assert len(proxy.seen) == len(found)
    assert set(proxy.asked) == {("CONNECT", "127.0.0.1", sink_server.port)}
    expected = run(
        *program[:-1], program[-1], "127.0.0.1", sink_server.port, plain, env={"PYTHONPATH": "x"}
    ).json
    assert as_in(found, ours) == as_in(expected, plain)


def as_in(found, folder):
    return {way: eval(repr(value).replace(str(folder), "FOLDER")) for way, value in found.items()}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may change the user of a child")
@pytest.mark.parametrize("what", ["user=2**64", "group=2**64", "extra_groups=[2**64]"])
def test_a_user_that_cannot_be_is_refused_as_without_us(what):
    code = f"""
import os, subprocess
try:
    subprocess.check_call(["/usr/bin/true"], env=os.environ, {what})
except (OverflowError, ValueError) as err:
    print(chr(34) + type(err).__name__ + str(err) + chr(34))
"""
    bare = run(sys.executable, "-c", code).json
    assert run(*pysocksify("-x", "socks5h://127.0.0.1:1"), sys.executable, "-c", code).json == bare
