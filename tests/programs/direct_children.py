"""Starts children that ``--children direct`` lets go, until stdin ends: direct_children.py HOST PORT

Prints the pids of a curl, of a Python that a shell starts with an empty environment, and of a Python that
this one starts with ``env={}``, which is covered.
"""

import subprocess
import sys

HOST, PORT = sys.argv[1], sys.argv[2]
CODE = (
    "import socket, sys; kept = socket.create_connection((sys.argv[1], int(sys.argv[2]))); sys.stdin.read()"
)
PYTHON = sys.executable, "-c", CODE, HOST, PORT

children = [
    subprocess.Popen(["curl", "-s", f"http://{HOST}:{PORT}/"], stdin=subprocess.PIPE),
    subprocess.Popen(["/bin/sh", "-c", 'exec env -i "$0" "$@"', *PYTHON], stdin=subprocess.PIPE),
    subprocess.Popen(PYTHON, env={}, stdin=subprocess.PIPE),
]
print(*(child.pid for child in children), flush=True)
sys.stdin.read()
for child in children:
    child.kill()
    child.communicate()
