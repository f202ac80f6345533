"""Start a pysocksd on HOST with OPTIONS and connect through it three times, one after the other.

connect_with_fast_open.py HOST [OPTION]...
"""

import json
import select
import socket
import subprocess
import sys

from pywrap.config.settings import Proxy, Settings
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.attempt import TunnelAttempt, wait_for
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.selection import Fixed

# linux/tcp.h: tcpi_options is the sixth byte; by this bit of it, the data in the SYN were taken.
TCPI_OPT_SYN_DATA = 32


def passive():
    with open("/proc/net/netstat") as file:
        names, values = (line.split() for line in file if line.startswith("TcpExt:"))
    return int(dict(zip(names, values, strict=True))["TCPFastOpenPassive"])


host, *options = sys.argv[1:]
command = [sys.executable, "-m", "pywrap.server", "-q", "--listen", f"{host}:0", *options]
lines, in_syn = [], []
with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
    while "listening on" not in (line := server.stderr.readline()):
        lines.append(line)
    proxy = Proxy("socks5h", host.strip("[]"), int(line.rpartition(":")[2]))
    with socket.create_server(("127.0.0.1", 0)) as target:
        for _ in range(3):
            plan = RetryPolicy(
                Hops(socket.getaddrinfo),
                Fixed((proxy,)),
                Endpoint(*target.getsockname()),
                pipeline="on",
                fast_open=True,
            )
            sock = socket.socket()
            sock.setblocking(False)
            with wait_for(TunnelAttempt(sock, plan, Deadline(Settings(timeout=20))), select.poll) as tunnel:  # type: ignore[attr-defined]
                end, _ = target.accept()
                with end:
                    end.sendall(b"from the other end")
                    tunnel.setblocking(True)
                    assert tunnel.recv(100) == b"from the other end"
                info = tunnel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
                in_syn.append(bool(info[5] & TCPI_OPT_SYN_DATA))
    server.terminate()
print(json.dumps({"lines": lines, "in_syn": in_syn, "passive": passive()}))
