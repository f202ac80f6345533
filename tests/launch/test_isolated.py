"""python -I, with and without -i: what is shown of errors, and the exit status, are as without us."""

from __future__ import annotations

import pytest

from tests.support.run import pysocksify, run

# By the name of a file, with which each is run: from its folder, so that its name is relative.
SCRIPTS = {
    "error.py": "def f():\n    1/0\nf()\n",
    "exits.py": "import sys\nx = 5\nsys.exit(3)\n",
    "interrupted.py": "raise KeyboardInterrupt\n",
    "syntax.py": "def f(:\n",
    "named.py": "import sys\nprint(__file__, sys.argv, __loader__.path)\n",
    "hooked.py": "import sys\nsys.excepthook = lambda *_: print('hooked')\n1/0\n",
}
SESSION = "import sys\nprint(sys.flags.isolated, __name__)\n1/0\n"

COMMANDS = {
    **{name: (name, "a") for name in SCRIPTS},
    "code": ("-c", "def f(): 1/0\nf()"),
    "module": ("-m", "timeit", "-s", "1/0"),
    "no module": ("-m", "nowhere"),
    "no file": ("nowhere.py",),
    "stdin": (),
    **{f"-i {name}": ("-i", name) for name in SCRIPTS},
    "-i code": ("-i", "-c", "x = 7"),
    "-i stdin": ("-i",),
    "-q -i stdin": ("-q", "-i"),
}


def test_errors_and_sessions_are_as_without_us(interpreter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in SCRIPTS.items():
        (tmp_path / name).write_text(text)
    through = pysocksify("-x", "socks5h://127.0.0.1:1")
    for name, words in COMMANDS.items():
        bare, ours = (
            run(*under, interpreter, "-I", *words, input=SESSION, status=None) for under in ((), through)
        )
        assert (ours.status, ours.out, ours.err) == (bare.status, bare.out, bare.err), (
            f"{name}\n{ours}\n{bare}"
        )


@pytest.mark.parametrize("option", ["-E", "-S"])
def test_a_session_with_a_start_up_file(interpreter, tmp_path, option):
    start = tmp_path / "start.py"
    start.write_text("print('started')\n")
    words = (interpreter, option, "-i", "-c", "x = 7")
    through = pysocksify("-x", "socks5h://127.0.0.1:1")
    env = {"PYTHONSTARTUP": str(start)}
    bare, ours = (run(*under, *words, input="x\n", env=env) for under in ((), through))
    assert (ours.out, ours.err) == (bare.out, bare.err)
