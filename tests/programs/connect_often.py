"""Open and close COUNT connections, one after the other, between two calls of getppid(2), for strace.

connect_often.py HOW HOST PORT COUNT [PROXY_PORT]. HOW: blocking, timeout, nonblocking (select), asyncio; or
by_hand, which speaks SOCKS5 to PROXY_PORT on this machine itself.
"""

import asyncio
import os
import select
import socket
import sys

how, host, port, count, *proxy = sys.argv[1:]
there = host, int(port)


def blocking():
    sock = socket.socket()
    sock.connect(there)
    return sock


def timeout():
    sock = socket.socket()
    sock.settimeout(30)
    sock.connect(there)
    return sock


def nonblocking():
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(there)
    assert select.select([], [sock], [], 30)[1]
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    return sock


def by_hand():
    sock = socket.socket()
    sock.connect(("127.0.0.1", int(proxy[0])))
    sock.sendall(b"\x05\x01\x00")
    assert sock.recv(2, socket.MSG_WAITALL) == b"\x05\x00"
    sock.sendall(b"\x05\x01\x00\x01" + socket.inet_aton(host) + there[1].to_bytes(2, "big"))
    assert sock.recv(10, socket.MSG_WAITALL)[:2] == b"\x05\x00"
    return sock


async def in_asyncio():
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, there)
    return sock


async def work_in_asyncio():
    (await in_asyncio()).close()
    os.getppid()
    for _ in range(int(count)):
        (await in_asyncio()).close()
    os.getppid()


def work(connect):
    # Once before, for what is imported.
    connect().close()
    os.getppid()
    for _ in range(int(count)):
        connect().close()
    os.getppid()


if how == "asyncio":
    asyncio.run(work_in_asyncio())
else:
    work({"blocking": blocking, "timeout": timeout, "nonblocking": nonblocking, "by_hand": by_hand}[how])
