"""Uses an address of one link in every call that takes or gives one: scopes.py INTERFACE; prints all results.

The interface has fe80::77. Ports that the kernel chose are written as 0.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import sys
from collections.abc import Callable
from typing import Any

LINK = sys.argv[1]
OWN, NUMBER = "fe80::77", socket.if_nametoindex(LINK)
SCOPED = f"{OWN}%{LINK}"
PATIENCE = 30
NUMERIC = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


def outcome(call: Callable[..., Any], *words: Any) -> Any:
    try:
        return call(*words)
    except OSError as err:
        return [type(err).__name__, err.errno]


def place(address: tuple[Any, ...]) -> list[Any]:
    return [address[0], 0, *address[2:]]


def names() -> list[Any]:
    infos = [SCOPED, f"{OWN}%{NUMBER}", f"{OWN}%nowhere", OWN, SCOPED.encode(), f"2001:db8::1%{LINK}"]
    found = [outcome(socket.getaddrinfo, each, 80, 0, socket.SOCK_STREAM) for each in infos]
    found += [outcome(socket.getaddrinfo, SCOPED, 80, socket.AF_INET)]
    for flags in (NUMERIC, NUMERIC | socket.NI_DGRAM):
        for each in (
            (OWN, 80, 0, NUMBER),
            (OWN, 80, 0, 0),
            (SCOPED, 80),
            (SCOPED, 80, 0, 0),
            (OWN, 80, 0, 9999),
        ):
            found.append(outcome(socket.getnameinfo, each, flags))
    return found


def streams() -> list[Any]:
    server = socket.socket(socket.AF_INET6)
    server.bind((OWN, 0, 0, NUMBER))
    server.listen()
    port = server.getsockname()[1]
    found = [place(server.getsockname())]
    for timeout in (PATIENCE, 0):
        client = socket.socket(socket.AF_INET6)
        client.settimeout(timeout)
        client.connect_ex((OWN, port, 0, NUMBER))
        select.select([], [client], [], PATIENCE)
        accepted, peer = server.accept()
        found += [place(client.getsockname()), place(client.getpeername())]
        found += [place(accepted.getsockname()), place(peer)]
        for each in (client, accepted):
            each.close()
    with socket.create_connection((SCOPED, port)) as client:
        found.append(place(client.getpeername()))
    found.append(asyncio.run(in_a_loop(port)))
    found.append(outcome(socket.socket(socket.AF_INET6).connect, (SCOPED, port)))
    server.close()
    return found


async def in_a_loop(port: int) -> list[Any]:
    loop = asyncio.get_running_loop()
    _, writer = await asyncio.open_connection(SCOPED, port)
    found = [place(writer.get_extra_info(name)) for name in ("peername", "sockname")]
    writer.close()
    found.append(await loop.getaddrinfo(SCOPED, 80, type=socket.SOCK_STREAM))
    found.append(await loop.getnameinfo((OWN, 80, 0, NUMBER), NUMERIC))
    return found


def datagrams() -> list[Any]:
    receiver, sender = (socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) for _ in range(2))
    receiver.settimeout(PATIENCE)
    receiver.bind((OWN, 0, 0, NUMBER))
    port = receiver.getsockname()[1]
    sender.sendto(b"x", (OWN, port, 0, NUMBER))
    found = [place(receiver.getsockname()), place(receiver.recvfrom(9)[1])]
    sender.sendmsg([b"x"], [], 0, (OWN, port, 0, NUMBER))
    found.append(place(receiver.recvmsg(9)[3]))
    sender.connect((OWN, port, 0, NUMBER))
    sender.send(b"x")
    found += [place(receiver.recvfrom(9)[1]), place(sender.getpeername()), place(sender.getsockname())]
    found.append(outcome(sender.sendto, b"x", (SCOPED, port)))
    return found


print(json.dumps({each.__name__: each() for each in (names, streams, datagrams)}))
