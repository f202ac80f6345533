"""Starts children of which pysocksify does not hear, all connected to HOST PORT, until stdin ends.

stray_children.py HOST PORT: prints the pids of a Python with a clean environment, of a Python with -S, and of
an ncat, when all are connected.
"""

from __future__ import annotations

import socket
import subprocess
import sys

HOST, PORT = sys.argv[1], int(sys.argv[2])
CODE = f"""\
import socket, sys
kept = socket.create_connection(({HOST!r}, {PORT}))
print('up', flush=True)
sys.stdin.read()
"""
# By a shell, which is beyond the patches of this process.
CLEAN = 'exec env -i "$0" -c "$1"'
SILENT = 'exec "$0" -S -c "$1"'
NCAT = 'exec ncat "$1" "$2"'


def start(script: str, *words: object) -> subprocess.Popen[str]:
    command = ["/bin/sh", "-c", script, *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


covered = socket.create_connection((HOST, PORT))
children = [
    start(CLEAN, sys.executable, CODE),
    start(SILENT, sys.executable, CODE),
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
