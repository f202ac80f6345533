"""Connects from many processes at once: log_many.py HOST PORT PROCESSES CONNECTIONS"""

from __future__ import annotations

import multiprocessing
import socket
import sys

host, port, processes, connections = sys.argv[1], *map(int, sys.argv[2:])


def connect(_: int) -> None:
    for _ in range(connections):
        socket.create_connection((host, port), timeout=60).close()


if __name__ == "__main__":
    # Half of them forked, half of them started anew: both ways to come to a log.
    running = [
        multiprocessing.get_context(method).Process(target=connect, args=(number,))
        for method in ("fork", "spawn")
        for number in range(processes // 2)
    ]
    for process in running:
        process.start()
    for process in running:
        process.join()
        assert process.exitcode == 0
