"""eventlet's look-ups, which it makes by datagrams of its own: resolve_green.py [PROXY before|after]"""

import json
import sys

if sys.argv[2:] == ["before"]:
    import pywrap

    pywrap.install(sys.argv[1])

import eventlet

eventlet.monkey_patch()

if sys.argv[2:] == ["after"]:
    import pywrap

    pywrap.install(sys.argv[1])

import socket  # noqa: E402

found = [
    socket.getaddrinfo("one.invalid", 80, type=socket.SOCK_STREAM)[0][4],
    socket.gethostbyname("two.invalid"),
    socket.gethostbyname_ex("three.invalid")[2],
    socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICSERV),
]
print(json.dumps({"found": found, "own": "eventlet.support.greendns" in sys.modules}))
