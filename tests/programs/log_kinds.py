"""Does one of everything that a log has a line for: log_kinds.py HOST PORT REFUSING_PORT"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

host, port, refusing = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

CHILD = f"import socket; socket.create_connection(({host!r}, {port}), timeout=20).close()"


def connect(to: tuple[str, int]) -> None:
    with contextlib.suppress(OSError):
        socket.create_connection(to, timeout=20).close()


async def main() -> None:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    await writer.wait_closed()


connect((host, port))
connect((host, refusing))
connect(("nowhere.invalid", port))
# Direct, and blocked, by the rules of the test.
connect(("127.0.0.2", port))
connect(("192.0.2.99", port))
asyncio.run(main())
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    sock.settimeout(20)
    sock.sendto(b"x", (host, port))
    sock.sendto(b"x", (host, port))
with socket.create_server(("127.0.0.1", 0)):
    pass
with socket.socket() as raw, contextlib.suppress(OSError):
    # Past the patches.
    socket.socket.__base__.connect(raw, (host, port))
subprocess.run([sys.executable, "-c", CHILD], check=True, env={})
pid = os.fork()
if pid == 0:
    connect((host, port))
    os._exit(0)
os.waitpid(pid, 0)
