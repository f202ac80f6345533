"""Which files of an interpreter have lines that run before ours, and that --check names them."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pywrap.launch.check.early_code import files_of
from tests.support.run import environment, interpreters, run
from tests.support.servers import reference_server

FILES = {
    "a_runs.pth": "/nowhere\nimport sys; sys.early = True\n",
    "a_tab.pth": "import\tsys\n",
    "paths_alone.pth": "/nowhere\n# import sys\n",
    ".hidden.pth": "import sys\n",
    "b_start.start": "# first\nsys:exit_not\n",
    "b_start.pth": "import sys\n",
    "empty.start": "# nothing\n\n",
    "module.py": "import sys\n",
}


@pytest.fixture(params=["3.11", "3.15"])
def venv(request, tmp_path):
    """With these files in it."""
    python = interpreters().get(request.param)
    if python is None:
        pytest.skip(f"no CPython {request.param} on this machine")
    command = [python, "-m", "venv", "--without-pip", tmp_path / "venv"]
    subprocess.run(command, check=True, env=environment(), stdin=subprocess.DEVNULL)
    (packages,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    for name, text in FILES.items():
        (packages / name).write_text(text)
    return tmp_path / "venv"


def test_files_with_lines_that_site_executes_are_found(venv):
    named = [path.rpartition("/")[2] for path in files_of(str(venv / "bin" / "python"))]
    last = "b_start.start" if "python3.15" in str(list(venv.glob("lib/*"))) else "b_start.pth"
    assert named == ["a_runs.pth", "a_tab.pth", last]


def test_nothing_of_them_is_executed(venv):
    (packages,) = venv.glob("lib/python*/site-packages")
    marker = venv / "executed"
    (packages / "a_runs.pth").write_text(f"import os; os.mkdir({str(marker)!r})\n")
    assert files_of(str(venv / "bin" / "python"))
    assert not marker.exists()


def test_no_interpreter_has_none(tmp_path):
    assert files_of(str(tmp_path / "python")) == []
    assert files_of("/bin/true") == []


def test_check_names_them(venv):
    env = {"VIRTUAL_ENV": str(venv)}
    with reference_server() as server:
        words = (sys.executable, "-m", "pywrap", "--check", server.url())
        text = run(*words, env=env).out
        told = json.loads(run(*words[:-1], "--json", server.url(), env=env).out)
    expected = files_of(str(venv / "bin" / "python"))
    assert f"run before pysocksify, and what they send leaves directly: {', '.join(expected)}\n" in text
    assert told["before_pysocksify"] == expected
