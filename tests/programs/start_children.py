"""Starts Pythons in many ways, each of which connects to HOST PORT: start_children.py HOST PORT FOLDER

Prints a JSON object: the way, and what the child printed (its flags, its argv, its first entry of sys.path).
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import os
import py_compile
import subprocess
import sys
from pathlib import Path

HOST, PORT, FOLDER = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
PYTHON = sys.executable
CODE = f"""\
import json, os, socket, sys
socket.create_connection(({HOST!r}, {PORT})).close()
flags = [sys.flags.isolated, sys.flags.no_site, sys.flags.ignore_environment]
print(json.dumps([*flags, sys.argv, sys.path[:1], __name__, len(sys.orig_argv)]))
"""
SAME_FOLDER = Path(PYTHON).resolve().parent
SCRIPT = FOLDER / "script.py"
TOOL = FOLDER / "tool"
PACKAGE = FOLDER / "package"


def connect(_: object = None) -> str:
    import socket

    socket.create_connection((HOST, PORT)).close()
    return "connected"


def started(*words: object, **options: object) -> object:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    return json.loads(done.stdout) if done.stdout else done.stderr


def compiled(name: str) -> str | None:
    return py_compile.compile(str(SCRIPT), str(FOLDER / name))


def replaced(call: str) -> object:
    """What a child prints that replaces itself, or starts another, by the expression ``call``."""
    names = f"P, S, E, C = {PYTHON!r}, {str(SCRIPT)!r}, {{}}, {CODE!r}"
    return started(PYTHON, "-c", f"import os, sys; {names}; {call}; sys.exit()")


def with_foreign_sitecustomize() -> object:
    (FOLDER / "foreign").mkdir()
    (FOLDER / "foreign" / "sitecustomize.py").write_text("import sys; sys.foreign = True\n")
    code = CODE + "assert sys.foreign\n"
    return started(PYTHON, "-c", code, env={**os.environ, "PYTHONPATH": str(FOLDER / "foreign")})


def in_process(method: str) -> object:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        return list(pool.map(connect, [None]))


def without_our_path() -> object:
    del os.environ["PYTHONPATH"]
    return started(PYTHON, "-c", CODE)


WAYS = {
    "plain": lambda: started(PYTHON, "-c", CODE),
    "env={}": lambda: started(PYTHON, "-c", CODE, env={}),
    "PYTHONPATH replaced": lambda: started(PYTHON, "-c", CODE, env={**os.environ, "PYTHONPATH": "/nowhere"}),
    "foreign sitecustomize": with_foreign_sitecustomize,
    "-I -c": lambda: started(PYTHON, "-I", "-c", CODE, "a"),
    "-I script": lambda: started(PYTHON, "-I", SCRIPT, "a"),
    "-E script": lambda: started(PYTHON, "-E", SCRIPT, "a"),
    "-S script": lambda: started(PYTHON, "-S", SCRIPT, "a"),
    "-IS script, env={}": lambda: started(PYTHON, "-I", "-S", SCRIPT, env={}),
    "-Em": lambda: started(PYTHON, "-Em", "script", "a", cwd=FOLDER),
    "-I compiled": lambda: started(PYTHON, "-I", compiled("compiled.pyc"), "a"),
    "-I compiled, unnamed": lambda: started(PYTHON, "-I", compiled("compiled")),
    "-I package": lambda: started(PYTHON, "-I", PACKAGE, "a"),
    "-I stdin": lambda: started(PYTHON, "-I", input=CODE),
    "-I stdin -": lambda: started(PYTHON, "-I", "-", "a", input=CODE),
    "#! -I": lambda: started(TOOL, "a"),
    "executable=": lambda: started(SAME_FOLDER / "other", "-I", "-c", CODE, executable=PYTHON),
    "shell=True": lambda: json.loads(
        subprocess.run(f"{PYTHON} {SCRIPT}", shell=True, env={}, capture_output=True, text=True).stdout
    ),
    "close_fds, new group": lambda: started(PYTHON, "-I", SCRIPT, close_fds=True, process_group=0),
    "start_new_session": lambda: started(PYTHON, "-I", SCRIPT, start_new_session=True, restore_signals=False),
    "execv": lambda: replaced("os.execv(P, [P, '-I', S])"),
    "execve": lambda: replaced("os.execve(P, [P, S], E)"),
    "execvpe": lambda: replaced("os.execvpe(P, [P, S], E)"),
    "execle": lambda: replaced("os.execle(P, P, '-E', S, E)"),
    "spawnv": lambda: replaced("os.spawnv(os.P_WAIT, P, [P, '-I', S])"),
    "spawnve": lambda: replaced("os.spawnve(os.P_WAIT, P, [P, S], E)"),
    "posix_spawn": lambda: replaced("os.waitpid(os.posix_spawn(P, [P, S], E), 0)"),
    "posix_spawnp": lambda: replaced("os.waitpid(os.posix_spawnp(P, [P, '-I', S], E), 0)"),
    "system": lambda: replaced("os.environ.clear(); os.system(f'{P} {S}')"),
    "popen": lambda: replaced("os.environ.clear(); print(os.popen(f'{P} {S}').read())"),
    "fork": lambda: in_process("fork"),
    "spawn": lambda: in_process("spawn"),
    "forkserver": lambda: in_process("forkserver"),
    # Last: this process goes on without it.
    "PYTHONPATH popped": without_our_path,
}


def main() -> None:
    SCRIPT.write_text(CODE)
    TOOL.write_text(f"#!{PYTHON} -I\n{CODE}")
    TOOL.chmod(0o755)
    PACKAGE.mkdir()
    (PACKAGE / "__main__.py").write_text(CODE)
    print(json.dumps({way: start() for way, start in WAYS.items()}))


if __name__ == "__main__":
    main()
