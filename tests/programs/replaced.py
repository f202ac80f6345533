"""Where the functions are defined that replace something: replaced.py HOST PORT

Prints, for each, its qualified name in our code, by the name that the program has for it.
"""

import _socket
import json
import multiprocessing.reduction
import select
import socket
import sys

import socks
import trio._socket
from python_socks._protocols import socks5

import pywrap

OURS = pywrap.__path__[0]


def kept(member):
    """``member``, and what is kept in the closure of that, and of those."""
    yield member
    for cell in getattr(member, "__closure__", None) or ():
        yield from kept(cell.cell_contents)


def ours(owner):
    """The functions of ours that are members of ``owner``, or kept in closures of its members."""
    for name, member in vars(owner).items():
        for function in kept(member):
            function = getattr(function, "__func__", getattr(function, "_function", function))
            code = getattr(function, "__code__", None)
            if code is not None and code.co_filename.startswith(OURS):
                yield f"{owner.__name__}.{name}", code.co_qualname


with socket.create_connection((sys.argv[1], int(sys.argv[2]))), socket.socket() as listener:
    datagram = socket.socket(type=socket.SOCK_DGRAM)
    listener.listen()
    reducer = multiprocessing.reduction.ForkingPickler._extra_reducers[socket.socket]
    found = [
        ("reducer", reducer.__code__.co_qualname),
        *(("negotiator", each.__code__.co_qualname) for each in socks.socksocket._proxy_negotiators.values()),
    ]
    owners = (socket, _socket, socket.socket, _socket.socket, trio._socket._SocketType, socks.socksocket)
    for owner in (*owners, socks5.ConnectRequest, select.epoll, type(datagram), type(listener)):
        found += ours(owner)
    datagram.close()
print(json.dumps(found))
