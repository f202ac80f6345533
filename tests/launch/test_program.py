"""What PROGRAM is, from its name and its first lines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pywrap.launch.launch_error import LaunchError
from pywrap.launch.program import blind_option, check, find


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ([], ""),
        (["app.py", "-I"], ""),
        (["-u", "app.py", "-E"], ""),
        (["-I", "app.py"], "-I"),
        (["-uE", "app.py"], "-E"),
        (["-Bs", "-S"], "-S"),
        (["-m", "module", "-S"], ""),
        (["-mI"], ""),
        (["-c", "pass", "-I"], ""),
        (["-W", "-I", "app.py"], ""),
        (["-W", "error", "-I"], "-I"),
        (["-Werror", "-I"], "-I"),
        (["-X", "dev", "-E"], "-E"),
        (["-XI", "app.py"], ""),
        (["-bX", "I", "app.py"], ""),
        (["--check-hash-based-pycs", "always", "-I"], "-I"),
        (["--help-env", "-I"], "-I"),
        (["-", "-I"], ""),
        (["--", "-I"], ""),
    ],
)
def test_options_that_make_python_ignore_us(arguments, option):
    assert blind_option(arguments) == option


@pytest.fixture
def make(tmp_path):
    def write(name: str, content: bytes | str, mode: int = 0o755) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return str(path)

    return write


ELF = b"\x7fELF" + bytes(12)

GOOD = {
    "interpreter": ("python3.12", ELF),
    "free-threaded": ("python3.13t", ELF),
    "bare name": ("python", ELF),
    "script": ("app", "#!/usr/bin/python3\n"),
    "script with options": ("app", "#!/opt/py/bin/python3.11 -u\n"),
    "env": ("app", "#!/usr/bin/env python3\n"),
    "env -S": ("app", "#!/usr/bin/env -S python3 -u -W ignore\n"),
    "env -S with variables": ("app", "#!/usr/bin/env -S A=b python3\n"),
    "long path of pip": ("app", "#!/bin/sh\n'''exec' \"/very long/python\" \"$0\" \"$@\"\n' '''\n"),
    "long path of uv": ("app", "#!/bin/sh\n'''exec' '/very long/python3' \"$0\" \"$@\"\n' '''\n"),
    "space after": ("app", "#! /usr/bin/python3 \n"),
    "zipapp": ("app.pyz", b"#!/usr/bin/env python3\nPK\x03\x04"),
    "wrapper named python": ("python3", "#!/bin/bash\nexec something\n"),
}


@pytest.mark.parametrize("case", GOOD)
def test_what_is_python(make, case):
    check(make(*GOOD[case]), ["--anything"])


BAD = {
    "binary": ("curl", ELF, "a binary, not a Python program"),
    "not an interpreter": ("pythonista", ELF, "a binary, not a Python program"),
    "config tool": ("python3-config", "#!/bin/sh\n", "a script for `sh`, not a Python program"),
    "shell": ("run.sh", "#!/bin/bash\npython app.py\n", "a script for `bash`, not a Python program"),
    "env": ("app", "#!/usr/bin/env node\n", "a script for `node`, not a Python program"),
    "nothing": ("app", "print()\n", "a file without a `#!` line, not a Python program"),
    "isolated": ("app", "#!/usr/bin/python3 -I\n", "runs Python with `-I`"),
    "isolated by env": ("app", "#!/usr/bin/env -S python3 -sE\n", "runs Python with `-E`"),
    "isolated by pip": ("app", '#!/bin/sh\n\'\'\'exec\' "/a/python" -S "$0" "$@"\n', "runs Python with `-S`"),
    "empty environment": ("app", "#!/usr/bin/env -S -i python3\n", "takes pysocksify's settings out"),
    "empty line": ("app", "#!\n", "an empty `#!` line"),
    "unclosed quote": ("app", "#!/usr/bin/env -S python3 '\n", "cannot read the first lines"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_refused(make, case):
    name, content, expected = BAD[case]
    with pytest.raises(LaunchError) as caught:
        check(make(name, content), [])
    assert expected in str(caught.value)
    assert caught.value.status == 126


def test_an_interpreter_by_a_link_of_another_name(make, tmp_path):
    (tmp_path / "snake").symlink_to(make("python3.12", ELF))
    check(str(tmp_path / "snake"), [])
    with pytest.raises(LaunchError, match="`snake` runs Python with `-I`"):
        check(str(tmp_path / "snake"), ["-I"])


def test_a_shim_of_pyenv_is_what_it_stands_for(make, tmp_path):
    make("real/pip", "#!/opt/python3 -I\n")
    pyenv = make("libexec/pyenv", f'#!/bin/sh\n[ "$1 $2" = "which pip" ] && echo {tmp_path}/real/pip\n')
    shim = make(
        "shims/pip", f'#!/usr/bin/env bash\nprogram="${{0##*/}}"\nexec "{pyenv}" exec "$program" "$@"\n'
    )
    with pytest.raises(LaunchError, match="`pip` runs Python with `-I`"):
        check(shim, [])
    other = make("shims/other", Path(shim).read_bytes())
    with pytest.raises(LaunchError, match="pyenv has no `other`"):
        check(other, [])


def test_programs_are_found_as_by_execvp(make, tmp_path):
    path = f"{tmp_path}/none{os.pathsep}{tmp_path}/bin"
    tool = make("bin/tool", "")
    assert find("tool", path) == tool
    assert find(tool, "") == tool


@pytest.mark.parametrize(
    ("name", "status", "text", "hint"),
    [
        ("missing", 127, "program not found: missing", ""),
        ("plain.py", 126, "program is not executable", "try `pysocksify python plain.py`, or chmod +x"),
        ("plain", 126, "program is not executable", ""),
        ("folder", 126, "program is a directory", ""),
    ],
)
def test_programs_that_cannot_be_executed(make, tmp_path, name, status, text, hint):
    make("plain.py", "", 0o644)
    make("plain", "", 0o644)
    (tmp_path / "folder").mkdir()
    with pytest.raises(LaunchError, match=text) as caught:
        find(name, str(tmp_path))
    assert (caught.value.status, caught.value.hint) == (status, hint)


def test_a_later_executable_beats_an_earlier_file(make, tmp_path):
    make("a/tool", "", 0o644)
    tool = make("b/tool", "")
    assert find("tool", f"{tmp_path}/a:{tmp_path}/b") == tool
