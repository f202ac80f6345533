"""Processes that append lines to one file: log_lines.py FILE PROCESSES LINES

A line is the number of the process, that of the line, a size, and so many letters.
"""

from __future__ import annotations

import os
import random
import sys

from pywrap.log.writer import LineWriter

path, processes, lines = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
# Opened before the fork by half of them: both ways of sharing a file.
before = LineWriter(path)
before.open()
children = []
for worker in range(processes):
    pid = os.fork()
    if pid == 0:
        writer = before if worker % 2 else LineWriter(path)
        sizes = random.Random(worker)
        status = 0
        for number in range(lines):
            size = sizes.choice((1, 50, 500, 5000))
            status |= not writer.write(f"{worker} {number} {size} {'x' * size}\n".encode())
        os._exit(status)
    children.append(pid)
sys.exit(any(os.waitpid(pid, 0)[1] for pid in children))
