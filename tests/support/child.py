"""Runs a few lines of Python under ``pysocksify`` in a child process."""

from __future__ import annotations

import sys
from textwrap import dedent
from typing import Any

from tests.support.run import pysocksify, run

# What most of them need. ``say`` prints the result; ``wait_writable`` is what an event loop does.
PRELUDE = """
import errno, json, os, select, socket, sys, time
PATIENCE = 30

def say(**result):
    print(json.dumps(result))

def wait_writable(sock):
    assert select.select([], [sock], [], PATIENCE)[1], "never writable"
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)

def start(host, port):
    sock = socket.socket()
    sock.setblocking(False)
    assert sock.connect_ex((host, port)) == errno.EINPROGRESS
    return sock

def echo(sock, data=b"hello"):
    sock.settimeout(PATIENCE)
    sock.sendall(data)
    return sock.recv(len(data), socket.MSG_WAITALL).decode()

def outcome(function, *args):
    try:
        return function(*args)
    except OSError as err:
        return [type(err).__name__, errno.errorcode.get(err.errno, err.errno), str(err)]

def descriptors():
    return sorted(os.listdir("/proc/self/fd"))

def left_over(before):
    # The thread closes what it has when it has its turn.
    until = time.monotonic() + PATIENCE
    while len(descriptors()) > len(before) and time.monotonic() < until:
        os.sched_yield()
    return len(descriptors()) - len(before)

if len(sys.argv) > 2:
    host, port = sys.argv[1], int(sys.argv[2])
"""


def kernel(proxy: str, code: str, *args: object, options: tuple[str, ...] = (), **how: Any) -> Any:
    """What ``code`` says, run with ``args`` in sys.argv; loopback goes through ``proxy`` as well."""
    command = pysocksify("-x", proxy, "--loopback", "proxy", *options)
    return run(*command, sys.executable, "-c", PRELUDE + dedent(code), *map(str, args), **how).json


# What those need that send datagrams, behind PRELUDE.
SOCK = """
def udp(family=socket.AF_INET, timeout=PATIENCE):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    return sock
"""


def talk(proxy: Any, code: str, *args: object, **how: Any) -> Any:
    """As ``kernel``, with SOCK; ``proxy`` is a server."""
    return kernel(proxy.url(), SOCK + dedent(code), *args, **how)
