"""What a program sees when a connection fails: fail.py HOST PORT [HOW]...

HOW: blocking (the default) timeout connect_ex nonblocking create_connection getaddrinfo
asyncio trio urllib. Prints the exception's class, its errno and its text; for each HOW, when
there are several.
"""

import errno
import json
import select
import socket
import sys

host, port = sys.argv[1], int(sys.argv[2])
hows = sys.argv[3:] or ["blocking"]
family = socket.AF_INET6 if ":" in host else socket.AF_INET


def blocking():
    with socket.socket(family) as sock:
        sock.connect((host, port))


def timeout():
    with socket.socket(family) as sock:
        sock.settimeout(20)
        sock.connect((host, port))


def connect_ex():
    with socket.socket(family) as sock:
        number = sock.connect_ex((host, port))
    if number:
        raise OSError(number, errno.errorcode[number])


def nonblocking():
    with socket.socket(family) as sock:
        sock.setblocking(False)
        number = sock.connect_ex((host, port))
        if number == errno.EINPROGRESS:
            _, writable, _ = select.select([], [sock], [], 30)
            assert writable, "not woken"
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, errno.errorcode[number])


def create_connection():
    socket.create_connection((host, port), timeout=20).close()


def getaddrinfo():
    socket.getaddrinfo(host, port)


def asyncio():
    import asyncio

    async def main():
        _, writer = await asyncio.open_connection(host, port)
        writer.close()

    asyncio.run(main())


def trio():
    import trio

    async def main():
        await (await trio.open_tcp_stream(host, port)).aclose()

    trio.run(main)


def urllib():
    import urllib.request

    urllib.request.urlopen(f"http://{host}:{port}/", timeout=20).close()


def said(err):
    # trio and urllib wrap what the socket said.
    cause = err
    while getattr(cause, "errno", None) is None:
        inner = getattr(cause, "reason", None) or cause.__cause__
        if isinstance(inner, ExceptionGroup):
            inner = inner.exceptions[0]
        if not isinstance(inner, Exception):
            break
        cause = inner
    number = getattr(cause, "errno", None)
    return {
        "error": type(cause).__name__,
        "errno": errno.errorcode.get(number, number),
        "text": str(cause),
        "outer": type(err).__name__,
    }


results = {}
for how in hows:
    results[how] = {"error": None, "errno": None, "text": ""}
    try:
        globals()[how]()
    except Exception as err:
        results[how] = said(err)
print(json.dumps(results if len(results) > 1 else results[hows[0]]))
