"""Connects to HOST PORT from subinterpreters: make_interpreters.py HOST PORT [PROXY], which is for install().

Prints how often it was connected, and whether two interpreters have one placeholder for one name.
"""

from __future__ import annotations

import json
import os
import sys

HOST, PORT = sys.argv[1], int(sys.argv[2])
CODE = f"""
import socket
socket.create_connection(({HOST!r}, {PORT})).close()
"""
NAMES = """
import os, socket
os.write({fd}, (socket.getaddrinfo({name!r}, 80)[0][4][0] + " ").encode())
"""


def connect() -> str:
    import socket

    socket.create_connection((HOST, PORT)).close()
    return "connected"


def by_hand(code: str) -> None:
    try:
        import _interpreters

        made = _interpreters.create()
        failed = _interpreters.exec(made, code)
        assert failed is None, failed
        _interpreters.destroy(made)
    except ModuleNotFoundError:
        import _xxsubinterpreters

        made = _xxsubinterpreters.create()
        _xxsubinterpreters.run_string(made, code)
        _xxsubinterpreters.destroy(made)


def overwrite_environment() -> None:
    """As setproctitle does: the memory that /proc/self/environ shows becomes something else."""
    with open("/proc/self/stat") as file:
        start, end = map(int, file.read().rpartition(")")[2].split()[47:49])
    with open("/proc/self/mem", "r+b", 0) as memory:
        memory.seek(start)
        memory.write(bytes(end - start))


def main() -> None:
    if len(sys.argv) > 3:
        import pywrap

        pywrap.install(sys.argv[3], loopback="proxy")
    elif os.environ.get("CLEAN") == "file":
        # As where the owner of the settings has ended.
        os.unlink(os.environ["PYSOCKSIFY_SETTINGS"].removeprefix("file="))
    elif os.environ.get("CLEAN"):
        if os.environ["CLEAN"] == "all":
            overwrite_environment()
        os.environ.clear()
    by_hand(CODE)
    connections = 1
    if sys.version_info >= (3, 14):
        from concurrent import interpreters
        from concurrent.futures import InterpreterPoolExecutor

        made = interpreters.create()
        made.exec(CODE)
        made.close()
        with InterpreterPoolExecutor(2) as pool:
            list(pool.map(connect, ()))
            pool.submit(connect).result()
        connections += 2
    import socket

    reading, writing = os.pipe()
    here = socket.getaddrinfo("one.test", 80)[0][4][0]
    by_hand(NAMES.format(fd=writing, name="other.test"))
    by_hand(NAMES.format(fd=writing, name="one.test"))
    other, one = os.read(reading, 999).decode().split()
    print(json.dumps([connections, here == one, here != other]))


if __name__ == "__main__":
    main()
