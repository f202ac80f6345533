"""getpeername() and getsockname(), wherever a tunnel goes."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from tests.support.child import kernel
from tests.support.inside import PATIENCE, outcome, say, wait_writable
from tests.support.run import program, pysocksify, run

OPTIONS = {"local": (), "bind": ("--listen", "bind")}


def expected(proxy, server, listen):
    """What both should be; None for the kernel's own answer."""
    if listen == "local":
        return [[server.host, server.port], None]
    # Our server answers a CONNECT with where it connects from.
    return [[server.host, server.port], proxy.host]


@pytest.mark.parametrize("listen", OPTIONS)
def test_wherever_it_goes_in_a_process(proxy, https_server, listen):
    def program(host, port):
        import asyncio
        import ssl

        context = ssl.create_default_context(cafile=sys.argv[3])
        Kernel = socket.socket.__base__

        def names(sock):
            kernels = Kernel.getsockname(sock)
            own = sock.getsockname()
            return [sock.getpeername(), None if own == kernels else own[0]]

        async def streams():
            reader, writer = await asyncio.open_connection(host, port)
            told = [[writer.get_extra_info("peername"), writer.get_extra_info("sockname")[0]]]
            await writer.start_tls(context, server_hostname=host)
            told.append([writer.get_extra_info("peername"), writer.get_extra_info("sockname")[0]])
            told.append(names(socket.socket(fileno=os.dup(writer.get_extra_info("socket").fileno()))))
            writer.close()
            return told

        sock = socket.create_connection((host, port), PATIENCE)
        result = {"fresh": names(sock), "dup": names(sock.dup())}
        if os.fork() == 0:
            os._exit(names(sock) != result["fresh"])
        result["child"] = os.waitstatus_to_exitcode(os.wait()[1])
        sock = socket.socket(fileno=sock.detach())
        result["detached"] = names(sock)
        wrapped = context.wrap_socket(sock, server_hostname=host)
        result["tls"] = names(wrapped)
        result["received"] = None
        left, right = socket.socketpair()
        socket.send_fds(left, [b"."], [wrapped.fileno()])
        result["received"] = names(socket.socket(fileno=socket.recv_fds(right, 1, 1)[1][0]))
        result["asyncio"] = asyncio.run(streams())
        say(**result)

    said = kernel(
        proxy.url(),
        program,
        *(https_server.host, https_server.port, https_server.ca_pem),
        options=OPTIONS[listen],
    )
    both = expected(proxy, https_server, listen)
    before, after, dupped = said.pop("asyncio")
    assert [before[0], after[0], dupped] == [both[0], both[0], both]
    assert before[1] == after[1] == "127.0.0.1"
    assert said == {
        "child": 0,
        **dict.fromkeys(("fresh", "dup", "detached", "tls", "received"), both),
    }


@pytest.mark.parametrize("listen", OPTIONS)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_in_another_process_of_multiprocessing(proxy, echo_server, method, listen):
    command = pysocksify("-x", proxy.url(), "--loopback", "proxy", *OPTIONS[listen])
    said = run(*command, *program("send_socket.py"), echo_server.host, echo_server.port, method).json
    pending, sock = said["ours"]
    assert pending[0] == sock[0] == [echo_server.host, echo_server.port]
    assert said["sent"] == pending
    assert said["inherited"] == sock
    assert said["echoed"] == "hello"
    assert said["plain"]


def test_a_listener_is_not_sent(dante):
    def program():
        from multiprocessing.reduction import ForkingPickler

        sock = socket.socket()
        sock.listen()
        say(said=outcome(ForkingPickler.dumps, sock)[1:])

    said = kernel(
        f"socks5h://{dante.host}:{dante.port}",
        program,
        options=("--loopback", "direct", "--listen", "bind"),
    )
    number, text = said["said"]
    assert number in ("EOPNOTSUPP", "ENOTSUP")
    assert "listens at a proxy" in text


def test_uninstall_takes_the_reducer_back(proxy):
    def program():
        from multiprocessing.reduction import ForkingPickler

        import pywrap

        reducers = ForkingPickler._extra_reducers
        before = reducers[socket.socket].__module__
        pywrap.uninstall()
        say(before=before, after=reducers[socket.socket].__module__)

    said = kernel(
        proxy.url(),
        program,
    )
    assert said == {
        "before": "pywrap.intercept.patches.multiprocessing",
        "after": "multiprocessing.reduction",
    }


def test_an_address_in_an_old_form_is_told_as_the_kernel_tells_it(proxy, echo_server):
    def program(host, port):
        peers = []
        for form in "0x7f000001", "127.1":
            sock = socket.socket()
            sock.connect((form, port))
            peers.append(sock.getpeername())
        say(peers=peers)

    said = kernel(
        proxy.url(),
        program,
        *(echo_server.host, echo_server.port),
    )
    assert said["peers"] == [["127.0.0.1", echo_server.port]] * 2


@pytest.mark.parametrize("timeout", [20, 0])
def test_a_tunnel_to_the_ipv6_loopback_has_an_ipv6_address(proxy, timeout):
    def program(host, port):
        sock = socket.socket(socket.AF_INET6)
        sock.settimeout(timeout)
        sock.connect_ex((host, port))
        wait_writable(sock)
        own = sock.getsockname()
        with socket.create_server(("", 0), family=socket.AF_INET6) as back:
            socket.create_connection((own[0], back.getsockname()[1]), PATIENCE).close()
        say(own=[own[0], *own[2:]], port=own[1] == socket.socket.__base__.getsockname(sock)[1])

    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        said = kernel(proxy.url(), program, *server.getsockname()[:2])
    assert said == {"own": ["::1", 0, 0], "port": True}
