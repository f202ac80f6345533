"""Programs that run another one: what is looked at is that, and that is what is covered."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import pytest

from pywrap.launch.launch_error import LaunchError
from pywrap.launch.program import look_through
from pywrap.launch.wrappers import WRAPPERS, Command
from tests.support.child import source_of
from tests.support.run import pysocksify, run

ENVIRON = {"PYTHONPATH": "/ours:/theirs", "PYSOCKSIFY_SETTINGS": "s", "EVENTLET_NO_GREENDNS": "yes"}
WRAPPED = pysocksify("-x", "socks5h://me:password@192.0.2.99")
UNCONFINED = pysocksify("--confine", "off", "-x", "socks5h://me:password@192.0.2.99")


def look():
    import json
    import os
    import socket

    others = os.environ["PYTHONPATH"].split(":")[1:]
    print(json.dumps([type(socket.socket.connect).__name__, os.environ.get("FOO"), others]))


def inner(text: str) -> str:
    """What the command line ``text`` runs in the end."""
    command = Command(text.split())
    while command.enter():
        pass
    return " ".join(command.words[command.at :])


@pytest.mark.parametrize(
    "wrapper",
    [
        *("env", "env A=1 B=2", "env -i", "env -", "env -iv A=1", "env -u A -uB", "env --unset=A --unset B"),
        *("env -C /tmp", "env --chdir=/ A=", "env --ignore-signal=INT --block-signal", "env -- A=1"),
        *("timeout 5", "timeout -k 1 5m", "timeout -k1 -s KILL 5", "timeout --sig=TERM --kill 3 -v 0.1"),
        *("timeout --foreground --preserve-status -- 5",),
        *(
            "nice",
            "nice -n 5",
            "nice -n5",
            "nice -5",
            "nice --adjustment=-5",
            "nice --adj 3",
            "nohup",
            "nohup --",
        ),
        *(
            "setsid",
            "setsid -w -f",
            "setsid --fork --wait",
            "stdbuf -oL",
            "stdbuf -o L -i0",
            "stdbuf --output=L",
        ),
        *(
            "ionice -c 3",
            "ionice -c2 -n7 -t",
            "ionice --class idle",
            "chrt 5",
            "chrt -f 5",
            "chrt -d -T 1 -P 2 0",
        ),
        *("taskset 0x3", "taskset -c 0,1", "time -p", "time -f %e -o /dev/null", "time --format=%e -a"),
        *(
            "flock /tmp/x",
            "flock -n -w 3 /tmp/x",
            "choom -n 0",
            "choom -n 0 --",
            "catchsegv",
            "unbuffer",
            "unbuffer -p",
        ),
        *("xvfb-run", "xvfb-run -a -s -screen", "xvfb-run --server-args=-x --auto", "dbus-run-session --"),
        *("sudo -E", "sudo -En -u me", "sudo --preserve-env -H A=1", "sudo --preserve-env --user=me --"),
        *("pyenv exec", "asdf exec", "uv run --offline", "uv run --offline -p 3.12 --with six --"),
        *("nice timeout 5 env A=1 setsid", "/usr/bin/env /bin/nice"),
    ],
)
def test_where_the_command_begins(wrapper: str) -> None:
    assert inner(f"{wrapper} python -u app.py -k x=1") == "python -u app.py -k x=1"


def test_the_words_of_split_string_are_words() -> None:
    command = Command(["env", "-vS", "-i 'A=1 2' python -u", "app.py"])
    assert command.enter()
    assert command.words == ["env", "-i", "A=1 2", "python", "-u", "app.py"]
    assert command.words[command.at :] == ["python", "-u", "app.py"]
    assert inner("env -Spython app.py") == "python app.py"
    assert inner("env --split-string=python app.py") == "python app.py"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("timeout", "`timeout` has no program to run"),
        ("timeout 5", "`timeout` has no program to run"),
        ("env", "`env` has no program to run"),
        ("env A=1", "`env` has no program to run"),
        ("nice -n", "`nice -n` needs a value"),
        ("timeout --kill-after", "`timeout --kill-after` needs a value"),
        ("timeout --new 5 python", "`timeout --new` is not known here, and so not what it would run"),
        ("timeout -x 5 python", "`timeout -x` is not known here, and so not what it would run"),
        # Of two options, which getopt_long(3) refuses as well.
        ("flock --no python", "`flock --no` is not known"),
        ("ionice -p 1", "`ionice -p` runs no program that could be covered"),
        ("taskset -p 1", "`taskset -p` runs no program that could be covered"),
        ("chrt --pid 1", "`chrt --pid` runs no program that could be covered"),
        ("flock /tmp/x -c python", ""),
        ("flock -c python", "`flock -c` runs no program that could be covered"),
        ("sudo python", "`sudo` takes pysocksify's settings out of the environment"),
        ("sudo --preserve-env=A python", "`sudo` takes pysocksify's settings out of the environment"),
        ("sudo -i python", "`sudo -i` runs no program that could be covered"),
        ("sudo -E PYTHONPATH=/x python", "`sudo PYTHONPATH=…` contradicts pysocksify's own"),
        ("env -u PYSOCKSIFY_SETTINGS python", "`env -u PYSOCKSIFY_SETTINGS` takes pysocksify's settings out"),
        ("env PYSOCKSIFY_SETTINGS= python", "`env PYSOCKSIFY_SETTINGS=…` takes pysocksify's settings away"),
        ("env -S$A python", "`env -S` with more than plain words"),
        ("env -S'a python", "cannot read `env -S`"),
        ("uv run python", "`uv run` would ask its package index directly"),
    ],
)
def test_what_is_not_looked_through(text: str, message: str) -> None:
    if not message:
        # A command called -c, which find() does not find.
        assert inner(text) == "-c python"
        return
    with pytest.raises(LaunchError) as caught:
        inner(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nice python", "nice python"),
        ("env A=1 python", "env A=1 python"),
        ("env -i python", "env -i PYTHONPATH=/ours PYSOCKSIFY_SETTINGS=s EVENTLET_NO_GREENDNS=yes python"),
        (
            "env -i A=1 PYTHONPATH=/x python",
            "env -i PYTHONPATH=/ours PYSOCKSIFY_SETTINGS=s EVENTLET_NO_GREENDNS=yes"
            + " A=1 PYTHONPATH=/ours:/x python",
        ),
        ("env PYTHONPATH=/x python", "env PYTHONPATH=/ours:/x python"),
        ("env PYTHONPATH= python", "env PYTHONPATH=/ours python"),
        (
            "env -uPYTHONPATH python",
            "env -uPYTHONPATH PYTHONPATH=/ours PYSOCKSIFY_SETTINGS=s EVENTLET_NO_GREENDNS=yes python",
        ),
        (
            "sudo -E A=1 nice python",
            "sudo -E A=1 env PYTHONPATH=/ours:/theirs PYSOCKSIFY_SETTINGS=s EVENTLET_NO_GREENDNS=yes"
            + " nice python",
        ),
        (
            "env -i sudo -E python",
            "env -i PYTHONPATH=/ours PYSOCKSIFY_SETTINGS=s EVENTLET_NO_GREENDNS=yes"
            + " sudo -E env PYTHONPATH=/ours:/theirs PYSOCKSIFY_SETTINGS=s EVENTLET_NO_GREENDNS=yes python",
        ),
    ],
)
def test_what_a_wrapper_takes_away_is_said_behind_it(text: str, said: str) -> None:
    command = Command(text.split())
    while command.enter():
        pass
    assert " ".join(command.with_environment(ENVIRON)) == said


def test_sudo_is_told_the_file_that_was_looked_at(monkeypatch: Any, script: Any, tmp_path: Any) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "sudo").symlink_to("/bin/true")
    python = str(tmp_path / "python")
    assert look_through(["sudo", "-E", "python", "x"])[1].words == ["sudo", "-E", python, "x"]
    _, command = look_through(["sudo", "-E", "nice", "python"])
    assert command.words == ["sudo", "-E", shutil.which("nice"), python]
    assert look_through(["nice", "python"])[1].words == ["nice", "python"]


# The real ones, as far as they are there.
REAL = [
    *("env FOO=1", "env -i FOO=1", "env -i FOO=1 PYTHONPATH=/x", "env -u PYTHONPATH FOO=1", "env -C / FOO=1"),
    *("timeout -k 9 60 env FOO=1", "nice -n 1 env FOO=1", "nohup env FOO=1", "setsid -w env FOO=1"),
    *("stdbuf -oL env FOO=1", "ionice -c 3 env FOO=1", "chrt -b 0 env FOO=1", "flock /dev/null env FOO=1"),
    *(
        "taskset -a env FOO=1",
        "time -p env FOO=1",
        "sudo -nE FOO=1",
        "unbuffer env FOO=1",
        "xvfb-run -a env FOO=1",
    ),
]


@pytest.mark.parametrize("wrapper", REAL)
def test_a_python_behind_a_real_wrapper_is_covered(wrapper: str) -> None:
    words = wrapper.replace("taskset -a", "taskset -c 0").split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed")
    if words[0] == "sudo" and run("sudo", "-n", "true", status=None).status:
        pytest.skip("sudo asks for a password")
    ran = run(*WRAPPED, *words, sys.executable, "-c", source_of(look), env={"PYTHONPATH": "/theirs"})
    theirs = [] if "-i" in words or "-u" in words else ["/theirs"]
    assert ran.json == ["function", "1", ["/x"] if "PYTHONPATH=/x" in words else theirs]


ISOLATED = """
import json, socket, sys
print(json.dumps([type(socket.socket.connect).__name__, sys.flags.isolated, sys.flags.no_site, sys.argv]))
"""


@pytest.mark.parametrize("wrapper", ["nice", "env -i", "timeout 60 nice -n 1", "env -C / FOO=1", "setsid -w"])
@pytest.mark.parametrize("confine", ["auto", "off"])
def test_an_isolated_python_behind_a_wrapper_is_covered(wrapper: str, confine: str) -> None:
    words = pysocksify("--confine", confine, "-x", "socks5h://192.0.2.99")
    ran = run(*words, *wrapper.split(), sys.executable, "-I", "-c", ISOLATED, "a", "-I")
    assert ran.json == ["function", 1, 0, ["-c", "a", "-I"]]


def test_an_isolated_script_behind_a_wrapper_is_covered(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    script = tmp_path / "folder" / "tool"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable} -IS\n{ISOLATED}")
    script.chmod(0o755)
    assert run(*UNCONFINED, "nice", script, "a").json == ["function", 1, 1, [str(script), "a"]]
    ran = run(*UNCONFINED, "env", "-C", "folder", "./tool", "a")
    assert ran.json[:3] == ["function", 1, 1]


def test_what_is_behind_a_wrapper_is_refused_as_without() -> None:
    assert "`/" in (err := run(*UNCONFINED, "timeout", "5", "ls", status=126).err)
    assert "is a binary, not a Python program" in err
    assert run(*UNCONFINED, "nice", "no-such-program", status=127).err == (
        "pysocksify: error: program not found: no-such-program\n"
    )


def test_a_python_script_of_that_name_is_no_wrapper(tmp_path: Any) -> None:
    script = tmp_path / "timeout"
    script.write_text(f"#!{sys.executable}\nimport sys; print(sys.argv[1:])\n")
    script.chmod(0o755)
    assert run(*WRAPPED, script, "5", "ls").out == "['5', 'ls']\n"


# ---------------------------------------------------------------- scripts for a shell

NIX = """\
#! /bin/bash -e
PATH=${PATH:+':'$PATH':'}
PATH='/opt/x/bin'$PATH
export PATH
export PYTHONNOUSERSITE='true'
export PYTHONPATH='/opt/lib/python':$PYTHONPATH
exec -a "$0" "PYTHON"  "$@"
"""

GOOD = {
    "Nix": NIX,
    "beside it": '#!/bin/sh\n# conda\nset -e\nexec "$(dirname "$0")/python" -m json.tool "$@"\n',
    "with options": '#!/usr/bin/env bash\nset -euo pipefail\n\nFOO=1\nexport FOO\nexec PYTHON -u "$@"\n',
}
BAD = {
    "more than that": '#!/bin/sh\ncurl http://a.example\nexec PYTHON "$@"\n',
    "no exec": '#!/bin/sh\nPYTHON "$@"\n',
    "a substitution": '#!/bin/sh\nA=$(curl a.example)\nexec PYTHON "$@"\n',
    "a second command": '#!/bin/sh\nA=1; curl a.example\nexec PYTHON "$@"\n',
    "a command with a variable": '#!/bin/sh\nA=1 curl a.example\nexec PYTHON "$@"\n',
    "our folder is gone": '#!/bin/sh\nexport PYTHONPATH=/x\nexec PYTHON "$@"\n',
    "unset": '#!/bin/sh\nunset PYTHONPATH\nexec PYTHON "$@"\n',
    "settings": '#!/bin/sh\nPYSOCKSIFY_SETTINGS=\nexec PYTHON "$@"\n',
    "not by its path": '#!/bin/sh\nPATH=/opt:$PATH\nexec python3 "$@"\n',
    "a variable": '#!/bin/sh\nexec $X/python "$@"\n',
    "no Python": '#!/bin/sh\nexec /bin/ls "$@"\n',
    "isolated": '#!/bin/sh\nexec PYTHON -I "$@"\n',
    "itself": '#!/bin/sh\nexec "$(dirname "$0")/script" "$@"\n',
    "two of them": '#!/bin/sh\nexec PYTHON "$@" && curl a.example\n',
    "empty": "#!/bin/sh\n",
}


@pytest.fixture
def script(tmp_path: Any) -> Any:
    (tmp_path / "python").symlink_to(sys.executable)

    def write(text: str) -> str:
        path = tmp_path / "script"
        path.write_text(
            text.replace("PYTHON ", f"{tmp_path}/python ").replace('"PYTHON"', f'"{tmp_path}/python"')
        )
        path.chmod(0o755)
        return str(path)

    return write


@pytest.mark.parametrize("name", GOOD)
def test_a_script_that_only_starts_a_python_is_looked_through(script: Any, name: str) -> None:
    file, command = look_through([script(GOOD[name]), "-c", "pass"])
    assert file == command.words[0]


def test_a_script_of_nix_is_run_and_covered(script: Any) -> None:
    ran = run(*WRAPPED, script(NIX), "-c", source_of(look), env={"PYTHONPATH": "/theirs"})
    assert ran.json[0] == "function"


@pytest.mark.parametrize("name", BAD)
def test_any_other_script_is_refused(script: Any, name: str) -> None:
    with pytest.raises(LaunchError) as caught:
        look_through([script(BAD[name])])
    assert caught.value.status == 126


def test_a_folder_with_a_sitecustomize_before_ours_is_refused(script: Any, tmp_path: Any) -> None:
    (tmp_path / "sitecustomize.py").touch()
    text = f'#!/bin/sh\nexport PYTHONPATH={tmp_path}:$PYTHONPATH\nexec PYTHON "$@"\n'
    with pytest.raises(LaunchError, match="a script for `sh`"):
        look_through([script(text)])


def test_every_wrapper_reads_options_of_its_own_once() -> None:
    for name, each in WRAPPERS.items():
        short = each.flags + each.valued
        assert len(set(short)) == len(short), name
        long = (*each.long_flags, *each.long_valued, *each.attached)
        assert len(set(long)) == len(long), name
