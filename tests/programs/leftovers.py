"""What a connection costs beyond itself, in descriptors and threads: leftovers.py HOST PORT HOW [COUNT]

HOW: blocking, timeout, threads or asyncio; with COUNT connections at once. HOST is an address, so that
asyncio needs no thread for it. Expects an echo server.
"""

import asyncio
import json
import os
import socket
import sys
import threading
import time

host, port, how, *rest = sys.argv[1:]
count = int(rest[0]) if rest else 1
family = socket.AF_INET6 if ":" in host else socket.AF_INET


def descriptors():
    present = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            present.add((int(name), os.readlink(f"/proc/self/fd/{name}")))
        except FileNotFoundError:
            # The one that listed them.
            continue
    return present


def tasks():
    """The kernel's threads, ours and the program's."""
    return len(os.listdir("/proc/self/task"))


class Balance:
    def __init__(self):
        # What is imported or allocated once is not what a connection costs.
        self.descriptors, self.tasks = descriptors(), tasks()

    def now(self, socks):
        """What is there beyond ``socks``: once threads had their time to end."""
        own = {(sock.fileno(), os.readlink(f"/proc/self/fd/{sock.fileno()}")) for sock in socks}
        deadline = time.monotonic() + 20
        while tasks() > self.tasks and time.monotonic() < deadline:
            time.sleep(0.001)
        return {
            "connections": len(own),
            "descriptors": sorted(link for _, link in descriptors() - self.descriptors - own),
            "missing": sorted(link for _, link in self.descriptors - descriptors()),
            "threads": tasks() - self.tasks,
        }


def blocking(timeout=None):
    balance = Balance()
    socks = [socket.socket(family) for _ in range(count)]
    for sock in socks:
        sock.settimeout(timeout)
        sock.connect((host, int(port)))
        sock.sendall(b"hello")
        assert sock.recv(5, socket.MSG_WAITALL) == b"hello"
    return finish(balance, socks)


def in_threads():
    balance = Balance()
    socks = [socket.socket(family) for _ in range(count)]
    threads = [threading.Thread(target=sock.connect, args=((host, int(port)),)) for sock in socks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return finish(balance, socks)


def finish(balance, socks):
    result = {"open": balance.now(socks)}
    for sock in socks:
        sock.close()
    return {**result, "closed": balance.now([])}


async def with_asyncio():
    balance = Balance()
    streams = await asyncio.gather(*(asyncio.open_connection(host, int(port)) for _ in range(count)))
    for reader, writer in streams:
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
    result = {"open": balance.now([writer.get_extra_info("socket") for _, writer in streams])}
    for _, writer in streams:
        writer.close()
        await writer.wait_closed()
    return {**result, "closed": balance.now([])}


ways = {
    "blocking": blocking,
    "timeout": lambda: blocking(20),
    "threads": in_threads,
    "asyncio": lambda: asyncio.run(with_asyncio()),
}
print(json.dumps(ways[how]()))
