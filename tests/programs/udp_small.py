"""What small clients send: udp_small.py HOST NTP_PORT STUN_PORT STATSD_PORT SYSLOG_PORT

NTP and STUN expect an answer, statsd and the handlers of logging do not.
"""

import json
import logging
import logging.handlers
import os
import socket
import struct
import sys

host, ntp_port, stun_port, statsd_port, syslog_port = sys.argv[1], *map(int, sys.argv[2:])


def ask(port, request):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.sendto(request, (host, port))
        answer, source = sock.recvfrom(1024)
    assert source[1] == port
    return answer


# RFC 5905: version 4, mode 3. The time of the server is 40 bytes from the beginning.
time = struct.unpack_from("!I", ask(ntp_port, b"\x23" + bytes(47)), 40)[0]

# RFC 8489: a binding request; the address in the answer is XOR-MAPPED-ADDRESS.
transaction = os.urandom(12)
answer = ask(stun_port, struct.pack("!HHI", 1, 0, 0x2112A442) + transaction)
kind, length, cookie = struct.unpack_from("!HHI", answer)
mapped = struct.unpack_from("!H", answer, 26)[0] ^ (cookie >> 16)
assert (kind, answer[8:20]) == (0x0101, transaction)

with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setblocking(False)
    sock.connect((host, statsd_port))
    for metric in b"visits:1|c", b"load:3|g", b"took:320|ms":
        sock.send(metric)
    # No statsd answers. This one tells that all have arrived.
    sock.settimeout(30)
    assert sock.recv(2) == b"ok"

logger = logging.getLogger("program")
syslog = logging.handlers.SysLogHandler((host, syslog_port))
logger.addHandler(syslog)
logger.error("something happened")
logger.handlers.clear()
handler = logging.handlers.DatagramHandler(host, syslog_port)
logger.addHandler(handler)
logger.error("and something else")
# Dante forgets what it has not sent on when its client goes away.
for sock in syslog.socket, handler.sock:  # type: ignore[attr-defined]
    sock.settimeout(30)
    assert sock.recv(2) == b"ok"
print(json.dumps({"time": time, "mapped": mapped}))
