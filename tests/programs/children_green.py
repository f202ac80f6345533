"""Starts Pythons from green code, and prints whether each is covered: children_green.py"""

import json
import os
import subprocess
import sys

CODE = "import sys; sys.stdout.write(str('pywrap.intercept' in sys.modules))"
command = [sys.executable, "-c", CODE]


def spawned():
    reads, writes = os.pipe()
    moves = [(os.POSIX_SPAWN_DUP2, writes, 1)]
    process = os.posix_spawn(sys.executable, command, dict(os.environ), file_actions=moves)
    os.close(writes)
    os.waitpid(process, 0)
    with open(reads, "rb") as file:
        return file.read().decode()


print(json.dumps([subprocess.check_output(command, text=True), spawned()]))
