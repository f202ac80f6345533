"""TCP Fast Open of the server's listeners, each time in a network namespace of its own."""

import sys

import pytest

from tests.support.namespaces import alone_with_fast_open
from tests.support.peers import Missing
from tests.support.run import run

CLIENTS_MAY, BOTH_MAY = 1, 3

# A pysocksd, and three connections of ours through it to a listener here, one after the other.
PROGRAM = """
import json, select, socket, subprocess, sys
from pywrap.config.settings import Proxy, Settings
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.attempt import TunnelAttempt, wait_for
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.selection import Fixed

# linux/tcp.h: tcpi_options is the sixth byte; by this bit of it, the data in the SYN were taken.
TCPI_OPT_SYN_DATA = 32

def passive():
    with open("/proc/net/netstat") as file:
        names, values = (line.split() for line in file if line.startswith("TcpExt:"))
    return int(dict(zip(names, values))["TCPFastOpenPassive"])

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
            with wait_for(TunnelAttempt(sock, plan, Deadline(Settings(timeout=20))), select.poll) as tunnel:
                end, _ = target.accept()
                with end:
                    end.sendall(b"from the other end")
                    tunnel.setblocking(True)
                    assert tunnel.recv(100) == b"from the other end"
                info = tunnel.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)
                in_syn.append(bool(info[5] & TCPI_OPT_SYN_DATA))
    server.terminate()
print(json.dumps({"lines": lines, "in_syn": in_syn, "passive": passive()}))
"""


def connect_three_times(setting, host, *options):
    try:
        enter = alone_with_fast_open(setting)
    except Missing as err:
        pytest.skip(str(err))
    return run(*enter, sys.executable, "-c", PROGRAM, host, *options).json


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_request_may_be_in_the_syn(host):
    # The first gets the cookie.
    said = {"lines": [], "in_syn": [False, True, True], "passive": 2}
    assert connect_three_times(BOTH_MAY, host, "--fast-open") == said


def test_not_unless_it_is_asked_for():
    said = {"lines": [], "in_syn": [False, False, False], "passive": 0}
    assert connect_three_times(BOTH_MAY, "127.0.0.1") == said


def test_a_kernel_that_does_not_let_servers_is_told_of():
    line = "pysocksd: warning: --fast-open has no effect without `sysctl net.ipv4.tcp_fastopen=3`\n"
    said = {"lines": [line], "in_syn": [False, False, False], "passive": 0}
    assert connect_three_times(CLIENTS_MAY, "127.0.0.1", "--fast-open") == said
