"""Prints what becomes of each place: HOST:PORT, or connect/HOST:PORT and send/HOST:PORT for UDP."""

from __future__ import annotations

import errno
import json
import socket
import sys

PATIENCE = 30


def outcome(where: str) -> str:
    try:
        reach(where)
    except OSError as err:
        return errno.errorcode.get(err.errno or 0, str(err))
    return "done"


def reach(where: str) -> None:
    kind, _, place = where.rpartition("/")
    host, _, port = place.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if kind else socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        if kind == "send":
            sock.sendto(b"x", (host, int(port)))
        else:
            sock.connect((host, int(port)))


print(json.dumps({where: outcome(where) for where in sys.argv[1:]}))
