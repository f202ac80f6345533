"""pywrap.install(), some traffic, pywrap.uninstall(): install_and_uninstall.py PROXY HOST PORT

Tells what differs afterwards in what was patched, and what it got meanwhile and after. Expects an echo
server.
"""

import _socket
import asyncio
import json
import select
import selectors
import socket
import sys

import pywrap

proxy, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])

PATCHED = {
    "socket": socket,
    "_socket": _socket,
    "select": select,
    "selectors": selectors,
    "socket.socket": socket.socket,
    "_socket.socket": _socket.socket,
    "selectors.EpollSelector": selectors.EpollSelector,
}


def snapshot():
    contents = {
        f"{owner}.{name}": value for owner, thing in PATCHED.items() for name, value in vars(thing).items()
    }
    return {**contents, **{f"meta_path[{at}]": finder for at, finder in enumerate(sys.meta_path)}}


def different(before, after):
    return sorted(name for name in before.keys() | after.keys() if before.get(name) is not after.get(name))


def echo():
    with socket.create_connection((host, port), timeout=20) as sock:
        sock.sendall(b"hello")
        return sock.recv(5, socket.MSG_WAITALL).decode()


async def echo_asyncio():
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"hello")
    answer = await reader.readexactly(5)
    writer.close()
    await writer.wait_closed()
    return answer.decode()


def kernel_peer():
    with socket.create_connection((host, port), timeout=20) as sock:
        # Of the C class, which cannot be patched.
        return socket.socket.__base__.getpeername(sock)[:2]


before = snapshot()
result = {"rounds": []}
for _ in range(2):
    pywrap.install(proxy, loopback="proxy")
    installed = different(before, snapshot())
    try:
        pywrap.install(proxy)
        twice = "allowed"
    except RuntimeError as err:
        twice = str(err)
    got = [echo(), asyncio.run(echo_asyncio()), kernel_peer()]
    with socket.create_connection((host, port), timeout=20) as kept:
        pywrap.uninstall()
        pywrap.uninstall()
        kept.sendall(b"hello")
        open_tunnel = kept.recv(5, socket.MSG_WAITALL).decode()
    result["rounds"].append(
        {
            "installed": installed,
            "twice": twice,
            "through": got,
            "open tunnel": open_tunnel,
            "left": different(before, snapshot()),
            "direct": [echo(), asyncio.run(echo_asyncio()), kernel_peer()],
        }
    )
print(json.dumps(result))
