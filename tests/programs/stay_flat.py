"""Makes many connections and children, one after another, and says what each process of the run has:

    stay_flat.py HOST PORT CONNECTIONS CHILDREN ROUNDS [PID]...

HOST PORT: an echo server for TCP and UDP. PID: others to look at; the broker of the children is found. Prints
a JSON list: for each round a dictionary of process and [descriptors, threads, KiB of memory].
"""

from __future__ import annotations

import asyncio
import gc
import json
import multiprocessing
import os
import select
import socket
import subprocess
import sys
import time

# Seconds.
PATIENCE = 10
HOST, PORT = sys.argv[1], int(sys.argv[2])
CONNECTIONS, CHILDREN, ROUNDS = map(int, sys.argv[3:6])
WATCHED = sys.argv[6:]


def echoes(sock: socket.socket) -> None:
    sock.sendall(b"hello")
    got = sock.recv(9)
    assert got == b"hello", got


def blocking() -> None:
    with socket.create_connection((HOST, PORT)) as sock:
        echoes(sock)


def with_timeout() -> None:
    with socket.create_connection((HOST, PORT), timeout=30) as sock:
        echoes(sock)


def not_blocking() -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex((HOST, PORT))
        poller = select.poll()
        poller.register(sock, select.POLLOUT)
        poller.poll()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        sock.setblocking(True)
        echoes(sock)


def in_loop() -> None:
    async def main() -> None:
        reader, writer = await asyncio.open_connection(HOST, PORT)
        writer.write(b"hello")
        assert await reader.read(9) == b"hello"
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())


def refused() -> None:
    with socket.socket() as sock:
        # A port that nothing listens at.
        assert sock.connect_ex((HOST, 1)) != 0


def datagram() -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.sendto(b"hello", (HOST, PORT))
        assert sock.recv(9) == b"hello"


CONNECT = (blocking, with_timeout, not_blocking, in_loop, refused, blocking, with_timeout, datagram)


def python() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def not_python() -> None:
    subprocess.run(["/bin/true"], check=True)


def by_shell() -> None:
    subprocess.run("true", shell=True, check=True, close_fds=False)


def by_spawn() -> None:
    assert os.spawnv(os.P_WAIT, "/bin/true", ["true"]) == 0


def by_fork() -> None:
    child = multiprocessing.get_context("fork").Process(target=blocking)
    child.start()
    child.join()
    assert child.exitcode == 0


SPAWN = (not_python, python, by_shell, by_fork, by_spawn)


def broker() -> list[str]:
    """The processes of the broker of our children."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if any(word.endswith(b"/child_broker.py") for word in words) and str(os.getpid()).encode() in words:
            found.append(pid)
    return sorted(found, key=int)


def looked_at(pid: str) -> list[int]:
    with open(f"/proc/{pid}/smaps_rollup") as file:
        memory = next(int(line.split()[1]) for line in file if line.startswith("Pss_Anon:"))
    return [len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task")), memory]


def settle() -> None:
    """Wait for the thread that opens tunnels: it ends when it has had nothing to do for a moment."""
    end = time.monotonic() + PATIENCE
    while len(os.listdir("/proc/self/task")) > 1 and time.monotonic() < end:
        select.select([], [], [], 0.01)


def main() -> None:
    rounds = []
    for _ in range(ROUNDS):
        for number in range(CONNECTIONS):
            CONNECT[number % len(CONNECT)]()
        for number in range(CHILDREN):
            SPAWN[number % len(SPAWN)]()
        gc.collect()
        settle()
        others = {f"broker {n}": pid for n, pid in enumerate(broker())}
        others |= {f"watched {n}": pid for n, pid in enumerate(WATCHED)}
        rounds.append({name: looked_at(pid) for name, pid in {"program": "self", **others}.items()})
    print(json.dumps(rounds))


if __name__ == "__main__":
    main()
