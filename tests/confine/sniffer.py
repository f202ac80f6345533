"""Tells of every packet that leaves this network namespace: python sniffer.py PROXY...

For each line on stdin, until that ends, it prints a list of what has left since. Left out: TCP with the
proxies' ports 1080 and 1443 (TLS), UDP with their other ports (the relay), neighbour discovery, and what
stays on ``lo``.
"""

import json
import select
import socket
import sys

PORTS = (1080, 1443)
TCP, UDP, ICMPV6 = 6, 17, 58
ALL = 3
OUTGOING = 4

proxies = {
    socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host) for host in sys.argv[1:]
}


def described(frame: bytes) -> str:
    """A packet, unless it is allowed."""
    kind, packet = frame[12:14], frame[14:]
    if kind == b"\x08\x00":
        protocol, body, there = packet[9], packet[(packet[0] & 15) * 4 :], packet[16:20]
        host = socket.inet_ntop(socket.AF_INET, there)
    elif kind == b"\x86\xdd":
        protocol, body, there = packet[6], packet[40:], packet[24:40]
        host = socket.inet_ntop(socket.AF_INET6, there)
        if protocol == ICMPV6 and 133 <= body[0] <= 143 or protocol == 0:
            # Neighbours, routers, multicast listeners (behind a hop-by-hop header).
            return ""
    elif kind == b"\x08\x06":
        return ""
    else:
        return f"a frame of type {kind.hex()}"
    port = int.from_bytes(body[2:4], "big") if protocol in (TCP, UDP) else 0
    if there in proxies and (protocol == TCP and port in PORTS or protocol == UDP and port >= 1024):
        return ""
    return f"protocol {protocol} to {host} port {port}"


sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ALL))
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
found: list[str] = []
while True:
    # Packets first: those that were sent before the question belong to its answer.
    ready, _, _ = select.select([sock, sys.stdin], [], [])
    if sock in ready:
        frame, (interface, _, kind, *_) = sock.recvfrom(65536)
        line = described(frame) if kind == OUTGOING and interface != "lo" else ""
        if line and line not in found:
            found.append(line)
    elif not sys.stdin.readline():
        break
    else:
        print(json.dumps(found), flush=True)
        found.clear()
