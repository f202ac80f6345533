"""A wrapped shell, in real shells: what is exported, what is undone, and what Python makes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from pywrap.config import settings_env
from pywrap.config.settings import Chain, Proxy, Settings
from pywrap.launch.environment import STARTUP
from pywrap.launch.shell import BROUGHT, exports, undo
from tests.support.run import environment, pysocksify
from tests.support.servers import reference_server

SETTINGS = Settings((Chain((Proxy("socks5h", "192.0.2.99", 1080, b"o'brien\"$(id)`\\"),)),))

# What a program finds: whether it is armed, and its PYTHONPATH.
ASK = """
import os, socket
print(type(socket.socket.connect).__name__ == "function", repr(os.environ.get("PYTHONPATH")),
      os.environ.get("EVENTLET_NO_GREENDNS"))
"""


@pytest.fixture(params=["sh", "dash", "bash"])
def shell(request):
    """A function that runs a script in a shell, and returns what it prints."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")

    def run(script: str, fails: bool = False, **variables: str) -> list[str]:
        # `set -eu`: commands that fail, or that use what is not set, end it.
        done = subprocess.run(
            [request.param, "-c", f"set -eu\n{script}"],
            env=environment({**variables, "ASK": ASK, "python": sys.executable}),
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr != "") == (0, fails)
        return done.stdout.splitlines()

    return run


def eval_of(*options: str) -> str:
    command = " ".join(f"'{word}'" for word in pysocksify(*options))
    return f'eval "$({command})"'


WRAP = eval_of("-x", "socks5h://192.0.2.99", "--dns", "remote", "--env")
UNWRAP = eval_of("--env=off")
RUN = '"$python" -c "$ASK"'


@pytest.mark.parametrize("before", [None, "/one", "/one:/with a 'quote'"])
def test_every_python_of_a_wrapped_shell_is_tunnelled_until_it_is_undone(shell, before):
    variables = {} if before is None else {"PYTHONPATH": before}
    said = shell(f"{RUN}; {WRAP}; {RUN}; (cd /; {RUN}); {UNWRAP}; {RUN}", **variables)
    outside = f"False {before!r} None"
    path = STARTUP if before is None else f"{STARTUP}:{before}"
    assert said == [outside, *[f"True {path!r} yes"] * 2, outside]


def test_its_traffic_goes_through_the_proxy(shell, echo_server):
    with reference_server() as proxy:
        wrap = eval_of("-x", proxy.url(), "--loopback", "proxy", "--env")
        code = f"import socket; socket.create_connection(('127.0.0.1', {echo_server.port})).close()"
        shell(f'"$python" -c "{code}"; {wrap}; "$python" -c "{code}"; {UNWRAP}; "$python" -c "{code}"')
        assert proxy.asked == [("CONNECT", "127.0.0.1", echo_server.port)]


def test_what_the_user_changed_meanwhile_stays(shell):
    said = shell(f'{WRAP}; PYTHONPATH="/new:$PYTHONPATH"; {UNWRAP}; {RUN}', EVENTLET_NO_GREENDNS="mine")
    assert said == ["False '/new' mine"]


def test_a_wrapping_that_fails_fails_the_shell_too(shell):
    # Without an `exit`, the shell would go on, and directly.
    assert shell(f"{eval_of('-x', 'nonsense', '--env')} || echo not wrapped; {RUN}", fails=True) == [
        "not wrapped",
        "False None None",
    ]


def test_wrapping_twice_is_undone_once(shell):
    said = shell(f"{WRAP}; {WRAP}; {RUN}; {UNWRAP}; {RUN}; {UNWRAP}; {RUN}")
    assert said == [f"True {STARTUP!r} yes", "False None None", "False None None"]


def test_nothing_is_left_behind(shell):
    # Not by name: each shell changes some variables of its own.
    said = shell(f"{WRAP}; {UNWRAP}; env | grep -ci pysocksify || true")
    assert said == ["0"]


def test_text_that_shells_act_upon_comes_through(shell):
    # printf, since echo acts upon backslashes in some.
    wrapped = exports(SETTINGS, {"PYTHONPATH": "/a $x"})
    said = shell(f'{wrapped}\nprintf \'%s\\n\' "$PYTHONPATH" "${settings_env.VARIABLE}"')
    assert said[0] == f"{STARTUP}:/a $x"
    assert settings_env.decode(said[1]) == SETTINGS
    said = shell(undo({"PYTHONPATH": f"/it's:{STARTUP}:/$(b)"}) + "printf '%s\\n' \"$PYTHONPATH\"")
    assert said == ["/it's:/$(b)"]


def test_only_what_we_brought_is_unset():
    text = exports(SETTINGS, {"PYTHONPATH": "", "EVENTLET_NO_GREENDNS": "no"})
    assert "EVENTLET" not in text
    assert f"export {BROUGHT}={settings_env.VARIABLE}\n" in text
    there = {"PYTHONPATH": STARTUP, settings_env.VARIABLE: "x", BROUGHT: settings_env.VARIABLE}
    assert undo(there) == f"export PYTHONPATH=''\nunset {settings_env.VARIABLE}\nunset {BROUGHT}\n"
    assert undo({"PYTHONPATH": "/a"}) == ""
