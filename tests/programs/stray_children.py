"""Starts children of which pysocksify does not hear, all connected to HOST PORT, until stdin ends.

stray_children.py HOST PORT: prints the pids of a Python with a clean environment, of a Python with -S, and of
an ncat, when all are connected.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

HOST, PORT = sys.argv[1], int(sys.argv[2])
HOLD = Path(__file__).with_name("hold_connection.py"), HOST, PORT
# By a shell, which is beyond the patches of this process.
CLEAN = 'exec env -i "$0" "$@"'
SILENT = 'exec "$0" -S "$@"'
NCAT = 'exec ncat "$1" "$2"'


def start(script: str, *words: object) -> subprocess.Popen[str]:
    command = ["/bin/sh", "-c", script, *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


covered = socket.create_connection((HOST, PORT))
children = [
    start(CLEAN, sys.executable, *HOLD),
    start(SILENT, sys.executable, *HOLD),
    start(NCAT, "ncat", HOST, PORT),
]
for child in children[:2]:
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
echo = children[2]
assert echo.stdin is not None and echo.stdout is not None
echo.stdin.write("up\n")
echo.stdin.flush()
assert echo.stdout.readline() == "up\n"
print(*(child.pid for child in children), flush=True)
sys.stdin.read()
for child in children:
    child.kill()
    child.communicate()
