"""What poll() and epoll tell of a connection that fails: fail_events.py HOST PORT"""

import json
import select
import socket
import sys
import time

address = sys.argv[1], int(sys.argv[2])
NAMES = ("IN", "OUT", "PRI", "ERR", "HUP", "RDHUP")


def events(kind, names):
    poller = getattr(select, kind)()
    prefix, patience = ("POLL", 30_000) if kind == "poll" else ("EPOLL", 30)
    flags = {name: getattr(select, prefix + name) for name in NAMES}
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(address)
        poller.register(sock, sum(flags[name] for name in names))
        seen, until = 0, time.monotonic() + 30
        # A placeholder's other end hangs up a moment before its buffer is freed: ERR comes before OUT.
        while not seen & flags["OUT"] and time.monotonic() < until:
            ((_, seen),) = poller.poll(patience)
    return [name for name in NAMES if seen & flags[name]]


ways = [["OUT"], ["IN", "OUT"], ["IN", "OUT", "PRI", "RDHUP"]]
print(json.dumps([[kind, names, events(kind, names)] for kind in ("poll", "epoll") for names in ways]))
