"""Clients that others wrote, each in each way that it speaks SOCKS."""

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys

import pytest
import socks
from python_socks.async_.asyncio import Proxy as AsyncioProxy
from python_socks.sync import Proxy

from pywrap.server.tcp import dial
from tests.support import destinations, peers
from tests.support.child import source_of
from tests.support.installed import installed
from tests.support.raw_sockets import receive_all
from tests.support.servers import PATIENCE, reference_server


@pytest.fixture
def guarded():
    with reference_server(users={b"alice": b"s:cr@t"}) as running:
        yield running


@pytest.fixture
def datagram_peer():
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE)
        sock.bind(("127.0.0.1", 0))
        yield sock


def curl(*args):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = subprocess.run(["curl", "-sS", "--max-time", "30", *args], capture_output=True, text=True)
    return done.returncode, done.stdout or done.stderr


def http(destination, host="127.0.0.1"):
    return f"http://{host}:{destination.port}/hello"


@pytest.mark.parametrize(
    "option, host, asked",
    [
        ("--socks4", "localhost", "127.0.0.1"),
        ("--socks4a", "localhost", "localhost"),
        ("--socks5", "127.0.0.1", "127.0.0.1"),
        ("--socks5-hostname", "localhost", "localhost"),
    ],
)
def test_curl(server, http_server, option, host, asked):
    status, _ = curl(option, f"{server.host}:{server.port}", http(http_server, host))
    assert status == 0
    assert server.asked == [("CONNECT", asked, http_server.port)]
    assert server.seen[0].version == (4 if "4" in option else 5)


def test_curl_with_a_password(guarded, http_server):
    proxy = ["--socks5-hostname", f"{guarded.host}:{guarded.port}"]
    assert curl(*proxy, "--proxy-user", "alice:s:cr@t", http(http_server))[0] == 0
    assert [seen.user for seen in guarded.seen] == ["alice"]
    for login in ["--proxy-user", "alice:wrong"], []:
        status, message = curl(*proxy, *login, http(http_server))
        # CURLE_PROXY.
        assert status == 97, message
    assert len(guarded.seen) == 1


def test_curl_hears_of_a_refusal(server, refusing_port):
    url = f"http://127.0.0.1:{refusing_port}/"
    status, message = curl("--socks5", f"{server.host}:{server.port}", url)
    assert status == 97
    assert "(5)" in message


@pytest.mark.parametrize("kind", ["socks4", "socks5"])
def test_ncat(server, echo_server, kind):
    if shutil.which("ncat") is None:
        pytest.skip("ncat is not installed")
    # As it talks to itself when its input ends first, ours lasts until the echo is back.
    with subprocess.Popen(
        [
            "ncat",
            "--proxy-type",
            kind,
            "--proxy",
            f"{server.host}:{server.port}",
            "127.0.0.1",
            str(echo_server.port),
        ],  # fmt: skip
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as ncat:
        ncat.stdin.write(b"hello\n")
        ncat.stdin.flush()
        assert ncat.stdout.read(6) == b"hello\n"
        ncat.stdin.close()
    assert server.asked == [("CONNECT", "127.0.0.1", echo_server.port)]


def test_ncat_with_a_password(guarded, echo_server):
    if shutil.which("ncat") is None:
        pytest.skip("ncat is not installed")
    with subprocess.Popen(
        [
            "ncat",
            "--proxy-type",
            "socks5",
            "--proxy",
            f"{guarded.host}:{guarded.port}",
            "--proxy-auth",
            "alice:s:cr@t",
            "127.0.0.1",
            str(echo_server.port),
        ],  # fmt: skip
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as ncat:
        ncat.stdin.write(b"hello\n")
        ncat.stdin.flush()
        assert ncat.stdout.read(6) == b"hello\n"
        ncat.stdin.close()
    assert [seen.user for seen in guarded.seen] == ["alice"]


# ---------------------------------------------------------------- BIND: Dante's client

# PySocks and python-socks have no BIND.

_DANTE = """\
logoutput: stderr
route {{
  from: 0.0.0.0/0 to: 0.0.0.0/0 via: {host} port = {port}
  command: bind
  proxyprotocol: socks_v{version}
}}
"""


@pytest.mark.parametrize("version", [4, 5])
def test_an_ftp_client_in_active_mode_under_dantes(server, tmp_path, version):
    with installed():
        socksify = peers.find("socksify", package="dante-client")
        tnftp = peers.find("tnftp", package="tnftp")
    config = tmp_path / "socks.conf"
    config.write_text(_DANTE.format(host=server.host, port=server.port, version=version))
    (tmp_path / "up").write_bytes(b"known bytes\n" * 10_000)
    (tmp_path / "ftp").mkdir()
    with destinations.ftp_server(tmp_path / "ftp") as ftp:
        done = subprocess.run(
            # -A: the server connects to the client, for each file.
            [socksify, tnftp, "-A", "-n", ftp.host, str(ftp.port)],
            input=f"user {ftp.user} {ftp.password}\nput up file\nget file down\nquit\n",
            env={**os.environ, "SOCKS_CONF": str(config)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (tmp_path / "down").read_bytes() == (tmp_path / "up").read_bytes(), done
    # It does not know its peer when it asks: any may come.
    assert [(seen.version, seen.command, seen.host) for seen in server.seen] == [
        (version, "BIND", "0.0.0.0")
    ] * 2
    assert [arrived.answer.host for arrived in server.wait_for_arrived(2)] == [ftp.host] * 2


# ---------------------------------------------------------------- RESOLVE: Tor's client


def tor_resolve(server, *args):
    with installed():
        binary = peers.find("tor-resolve", package="tor")
    done = subprocess.run(
        [binary, *args, f"{server.host}:{server.port}"], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    "args, version, command, answer",
    [
        (["-5", "host.test"], 5, "RESOLVE", "192.0.2.7"),
        (["-4", "host.test"], 4, "RESOLVE", "192.0.2.7"),
        (["-x", "192.0.2.7"], 5, "RESOLVE_PTR", "host.test"),
    ],
)
def test_tor_resolve(server, names, monkeypatch, args, version, command, answer):
    names["host.test"] = ["192.0.2.7"]
    monkeypatch.setattr(dial._socket, "getnameinfo", lambda *_: ("host.test", "0"))
    assert tor_resolve(server, *args) == (0, answer, "")
    (seen,) = server.seen
    assert (seen.version, seen.command, seen.host, seen.port) == (version, command, args[1], 0)


def test_tor_resolve_hears_of_a_refusal(server, names):
    names["unknown.test"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    status, answer, message = tor_resolve(server, "unknown.test")
    assert (status, answer) == (1, "")
    assert "host is unreachable" in message


# ---------------------------------------------------------------- PySocks


@pytest.mark.parametrize("kind", [socks.SOCKS4, socks.SOCKS5])
@pytest.mark.parametrize("host, remote", [("127.0.0.1", False), ("localhost", True)])
def test_pysocks(server, target, kind, host, remote):
    with socks.socksocket() as sock:
        sock.settimeout(30)
        sock.set_proxy(kind, server.host, server.port, rdns=remote)
        sock.connect((host, target.port))
        peer = target.accept()
        assert sock.get_proxy_sockname()[1] == peer.getpeername()[1]
        peer.sendall(b"hello")
        peer.close()
        assert receive_all(sock) == b"hello"
    assert server.asked == [("CONNECT", host, target.port)]


def test_pysocks_with_a_password(guarded, target):
    with socks.socksocket() as sock:
        sock.set_proxy(socks.SOCKS5, guarded.host, guarded.port, username="alice", password="s:cr@t")
        sock.connect(("127.0.0.1", target.port))
    with socks.socksocket() as sock, pytest.raises(socks.GeneralProxyError):
        sock.set_proxy(socks.SOCKS5, guarded.host, guarded.port, username="alice", password="wrong")
        sock.connect(("127.0.0.1", target.port))
    assert [seen.user for seen in guarded.seen] == ["alice"]


@pytest.mark.parametrize("host, remote", [("127.0.0.1", False), ("localhost", True)])
def test_pysocks_with_datagrams(guarded, datagram_peer, host, remote):
    with socks.socksocket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.set_proxy(
            socks.SOCKS5, guarded.host, guarded.port, rdns=remote, username="alice", password="s:cr@t"
        )
        for payload in (b"hello", bytes(9000)):
            sock.sendto(payload, (host, datagram_peer.getsockname()[1]))
            data, source = datagram_peer.recvfrom(65536)
            assert data == payload
            datagram_peer.sendto(b"got " + data, source)
            assert sock.recvfrom(65536) == (b"got " + payload, datagram_peer.getsockname())
    # It announces its port, and no address; with remote names that is a name, "0".
    assert [seen.command for seen in guarded.seen] == ["UDP ASSOCIATE"]
    assert guarded.udp_peers == [(host, datagram_peer.getsockname()[1])]
    ((record, traffic, _),) = guarded.wait_for_udp_closed(1)
    assert (record.user, traffic.up, traffic.down, traffic.dropped) == ("alice", 2, 2, {})


def test_pysocks_with_a_connected_datagram_socket(server, datagram_peer):
    with socks.socksocket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        sock.set_proxy(socks.SOCKS5, server.host, server.port)
        sock.connect(("localhost", datagram_peer.getsockname()[1]))
        sock.send(b"hello")
        data, source = datagram_peer.recvfrom(65536)
        datagram_peer.sendto(b"got " + data, source)
        assert sock.recv(65536) == b"got hello"


# ---------------------------------------------------------------- Dante's client

# It goes to loopback addresses directly, whatever this says; to names it does not.
DANTE = """\
logoutput: /dev/null
resolveprotocol: fake
route {{
    from: 0.0.0.0/0 to: . via: {host} port = {port}
    protocol: tcp udp
    proxyprotocol: socks_v5
    method: none
}}
"""


def datagrams():
    import socket
    import sys

    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(30)
        for _ in range(2):
            sock.sendto(b"hello", (sys.argv[1], int(sys.argv[2])))
            print(sock.recvfrom(100))


def stream():
    import socket
    import sys

    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 30) as sock:
        print(sock.recv(100))


@contextlib.contextmanager
def socksify(tmp_path, server, program, *args):
    """A Python program below ``socksify``; its output is what this yields a function for."""
    with installed():
        socksify = peers.find("socksify", package="dante-client")
    config = tmp_path / "socks.conf"
    config.write_text(DANTE.format(host=server.host, port=server.port))
    argv = [socksify, sys.executable, "-I", "-c", source_of(program), *args]
    environment = {**os.environ, "SOCKS_CONF": str(config)}
    with subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True) as process:
        yield lambda: process.communicate()[0].splitlines()
    assert process.returncode == 0


def test_dante_with_datagrams(server, datagram_peer, tmp_path):
    port = datagram_peer.getsockname()[1]
    with socksify(tmp_path, server, datagrams, "localhost", str(port)) as output:
        for _ in range(2):
            data, source = datagram_peer.recvfrom(65536)
            datagram_peer.sendto(b"got " + data, source)
        answer = (b"got hello", ("127.0.0.1", port))
        assert output() == [repr(answer)] * 2
    ((command, host, announced),) = server.asked
    assert (command, host) == ("UDP ASSOCIATE", "127.0.0.1")
    assert announced
    assert server.udp_peers == [("localhost", port)]


def test_dante(server, target, tmp_path):
    with socksify(tmp_path, server, stream, "localhost", str(target.port)) as output:
        target.accept().sendall(b"hello")
        assert output() == [repr(b"hello")]
    assert server.asked == [("CONNECT", "localhost", target.port)]


# ---------------------------------------------------------------- python-socks


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
@pytest.mark.parametrize("host, remote", [("127.0.0.1", False), ("localhost", True)])
def test_python_socks(server, target, scheme, host, remote):
    proxy = Proxy.from_url(server.url(scheme=scheme), rdns=remote)
    with proxy.connect(host, target.port, timeout=30) as sock:
        target.accept().close()
        assert receive_all(sock) == b""
    assert server.asked == [("CONNECT", host, target.port)]


def test_python_socks_on_asyncio(guarded, target):
    async def fetch():
        proxy = AsyncioProxy.from_url(guarded.url("alice", "s:cr@t", scheme="socks5"), rdns=True)
        sock = await proxy.connect("localhost", target.port, timeout=30)
        reader, writer = await asyncio.open_connection(sock=sock)
        peer = target.accept()
        peer.sendall(b"hello")
        peer.close()
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        return data

    assert asyncio.run(fetch()) == b"hello"
    assert [(seen.user, seen.host) for seen in guarded.seen] == [("alice", "localhost")]
