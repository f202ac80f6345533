"""An audit hook that opens a connection at every event, in a storm of signals; then one connection.

``hook_connects.py HOST PORT WHEN``: the hook comes "before" the import of ``socket`` or "after" it. The
signals come after it: a handler in the middle of that import gets half a module, from Python as well. It says
what the connections of all came to, and which signals were blocked when the hook ran.
"""

import _signal
import faulthandler
import sys

faulthandler.dump_traceback_later(50, exit=True)
# More than a first connection has events.
MANY, TIMES, INTERVAL = 400, 100, 0.0007
masks, by_hook, by_handler, inside = set(), [], [], []


def reach():
    import socket

    try:
        with socket.socket() as sock:
            sock.connect((sys.argv[1], int(sys.argv[2])))
            sock.sendall(b"hello")
            return sock.recv(5, socket.MSG_WAITALL).decode()
    except Exception as err:
        return repr(err)


def hook(event, args):
    masks.add(tuple(_signal.pthread_sigmask(_signal.SIG_BLOCK, ())))
    if not inside and len(by_hook) < MANY:
        inside.append(1)
        by_hook.append(reach())
        inside.pop()


def handler(*_):
    by_handler.append(reach())
    if len(by_handler) < TIMES:
        _signal.setitimer(_signal.ITIMER_REAL, INTERVAL)


if sys.argv[3] == "before":
    sys.addaudithook(hook)
import asyncio  # noqa: E402, F401
import json  # noqa: E402

if sys.argv[3] == "after":
    sys.addaudithook(hook)
_signal.signal(_signal.SIGALRM, handler)
_signal.setitimer(_signal.ITIMER_REAL, INTERVAL)
reached = reach()
while len(by_handler) < TIMES:
    _signal.pause()
said = {"reached": [reached], "by_hook": by_hook, "by_handler": by_handler, "masks": masks}
print(json.dumps({key: sorted(set(value)) for key, value in said.items()} | {"events": len(by_hook)}))
