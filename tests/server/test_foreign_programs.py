"""Programs with a SOCKS client of their own that Debian has: netcat, OpenSSH, apt, git, msmtp, socat, Perl.

The large ones are in ``scripts/clients``.
"""

import contextlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from tests.support import destinations, peers
from tests.support.destinations import HELLO
from tests.support.installed import installed
from tests.support.kerberos import realm
from tests.support.servers import PATIENCE, reference_server

SECONDS = 60


@pytest.fixture
def guarded():
    with reference_server(users={b"alice": b"s:cr@t"}) as running:
        yield running


@pytest.fixture
def greeting():
    with destinations.greeting_server() as destination:
        yield destination


def need(name, package):
    with installed():
        return peers.find(name, package=package)


def done(*command, **how):
    ran = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, **how)
    assert ran.returncode == 0, ran
    return ran.stdout


# ---------------------------------------------------------------- netcat and OpenSSH


@pytest.mark.parametrize("version", [4, 5])
def test_openbsd_netcat(server, greeting, version):
    nc = need("nc.openbsd", "netcat-openbsd")
    words = (nc, "-X", str(version), "-x", f"{server.host}:{server.port}", "127.0.0.1", str(greeting.port))
    assert done(*words, input="QUIT\r\n").endswith("221 bye\n")
    assert server.asked == [("CONNECT", "127.0.0.1", greeting.port)]
    assert server.seen[0].version == version


def test_openssh_with_a_proxy_command(server):
    nc, ssh = need("nc.openbsd", "netcat-openbsd"), need("ssh", "openssh-client")
    with installed(), peers.openssh_server() as (folder, sshd):
        options = (
            *("-F", "/dev/null", "-i", str(folder / "user_key"), "-o", "BatchMode=yes"),
            *("-o", f"UserKnownHostsFile={folder}/known_hosts", "-p", str(sshd.port)),
            *("-o", f"ProxyCommand={nc} -X 5 -x {server.host}:{server.port} %h %p"),
        )
        user = pwd.getpwuid(os.geteuid()).pw_name
        # Two megabytes there and back.
        data = "x" * 2_000_000
        assert done(ssh, *options, f"{user}@{sshd.host}", "cat", input=data) == data
        assert server.asked == [("CONNECT", sshd.host, sshd.port)]


# ---------------------------------------------------------------- apt, git, msmtp


@contextlib.contextmanager
def files(folder):
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield http.server_address[1]
        finally:
            http.shutdown()
            thread.join()


def test_apt(guarded, tmp_path):
    helper = "/usr/lib/apt/apt-helper"
    if not os.path.exists(helper):
        pytest.skip("no apt here")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "package").write_bytes(HELLO)
    with files(tmp_path / "there") as port:
        proxy = f"Acquire::http::Proxy={guarded.url('alice', 's:cr@t')}"
        # An ordinary user may not write into the folder of the test.
        options = ("-o", proxy, "-o", "APT::Sandbox::User=root")
        done(helper, *options, "download-file", f"http://localhost:{port}/package", str(tmp_path / "here"))
        assert (tmp_path / "here").read_bytes() == HELLO
        assert guarded.asked == [("CONNECT", "localhost", port)]


@pytest.mark.parametrize("scheme", ["socks4a", "socks5h"])
def test_git(server, tmp_path, scheme):
    git = need("git", "git")
    folder = tmp_path / "there"
    identity = ("-c", "user.name=x", "-c", "user.email=x@x")
    done(git, "init", "-q", folder)
    (folder / "file").write_bytes(HELLO)
    done(git, "-C", folder, "add", "file")
    done(git, "-C", folder, *identity, "commit", "-q", "-m", "x")
    done(git, "-C", folder, "update-server-info")
    with files(folder) as port:
        url = f"http://localhost:{port}/.git"
        done(git, "-c", f"http.proxy={server.url(scheme=scheme)}", "clone", "-q", url, tmp_path / "here")
        assert (tmp_path / "here" / "file").read_bytes() == HELLO
        assert server.asked[0] == ("CONNECT", "localhost", port)


def test_msmtp(server, greeting):
    msmtp = need("msmtp", "msmtp")
    words = (
        *(msmtp, "--file=/dev/null", "--host=localhost", f"--port={greeting.port}", "--from=a@b.test"),
        *(
            "--auth=off",
            "--tls=off",
            f"--proxy-host={server.host}",
            f"--proxy-port={server.port}",
            "c@d.test",
        ),
    )
    # Debian's profile of AppArmor lets it read only what a user has.
    done(*words, input="Subject: x\n\nhello\n")
    assert server.asked == [("CONNECT", "localhost", greeting.port)]


# ---------------------------------------------------------------- socat


def socat():
    found = need("socat", "socat")
    version = re.search(r"socat version (\d+)\.(\d+)", done(found, "-V"))
    return found, tuple(map(int, version.groups()))


@pytest.mark.parametrize("address", ["SOCKS4", "SOCKS4A"])
def test_socat(server, greeting, address):
    found, _ = socat()
    where = f"{address}:{server.host}:localhost:{greeting.port},socksport={server.port},pf=ip4"
    assert done(found, "-T30", "-", where, input="QUIT\r\n").endswith("221 bye\n")
    assert server.asked == [("CONNECT", "localhost" if address == "SOCKS4A" else "127.0.0.1", greeting.port)]


def test_socat_with_socks5(server, greeting):
    found, version = socat()
    if version < (1, 8):
        pytest.skip("socat has SOCKS5 from 1.8 on; scripts/clients fetches that")
    where = f"SOCKS5-CONNECT:{server.host}:{server.port}:localhost:{greeting.port}"
    assert done(found, "-T30", "-", where, input="QUIT\r\n").endswith("221 bye\n")


# ---------------------------------------------------------------- Perl's IO::Socket::Socks

PERL = r"""
use strict; use Socket; use IO::Socket::Socks;
my ($what, $version, $host, $port, $there, $at, @login) = @ARGV;
my @proxy = (ProxyAddr => $host, ProxyPort => $port, SocksVersion => $version,
             @login ? (AuthType => 'userpass', Username => $login[0], Password => $login[1]) : ());
$| = 1;
if ($what eq 'connect') {
    my $sock = IO::Socket::Socks->new(@proxy, ConnectAddr => $there, ConnectPort => $at) or die $SOCKS_ERROR;
    print scalar <$sock>;
} elsif ($what eq 'bind') {
    my $sock = IO::Socket::Socks->new(@proxy, BindAddr => $there, BindPort => $at) or die $SOCKS_ERROR;
    my ($address, $bound) = $sock->dst;
    print "$address $bound\n";
    $sock->accept or die $SOCKS_ERROR;
    print scalar <$sock>;
} else {
    my $sock = IO::Socket::Socks->new(@proxy, UdpAddr => '0.0.0.0', UdpPort => 0) or die $SOCKS_ERROR;
    $sock->send("hello", 0, pack_sockaddr_in($at, inet_aton($there))) or die $!;
    $sock->recv(my $answer, 100) or die $!;
    print "$answer\n";
}
"""


def perl(server, what, version, there, port, *login):
    if not Path("/usr/share/perl5/IO/Socket/Socks.pm").exists():
        with installed():
            raise peers.Missing("libio-socket-socks-perl is not installed")
    words = (what, str(version), server.host, str(server.port), there, str(port), *login)
    return (need("perl", "perl"), "-e", PERL, *words)


@pytest.mark.parametrize("version", [4, 5])
def test_perl(server, greeting, version):
    assert done(*perl(server, "connect", version, "localhost", greeting.port)).startswith("220 ")
    # Of SOCKS4 it takes the form without names.
    assert server.asked == [("CONNECT", "localhost" if version == 5 else "127.0.0.1", greeting.port)]


def test_perl_with_a_password(guarded, greeting):
    login = ("alice", "s:cr@t")
    assert done(*perl(guarded, "connect", 5, "localhost", greeting.port, *login)).startswith("220 ")


def test_perl_waits_for_a_peer(server):
    # Of SOCKS4 it cannot read the second reply (findings/perl-io-socket-socks-bind-4.sh).
    command = perl(server, "bind", 5, "127.0.0.1", 21)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        host, port = process.stdout.readline().split()
        with socket.create_connection((host, int(port)), PATIENCE, ("127.0.0.1", 0)) as peer:
            peer.sendall(b"hello\n")
            assert process.stdout.readline() == "hello\n"
    assert server.seen[0].command == "BIND"


def test_perl_with_datagrams(server):
    with socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.settimeout(PATIENCE)
        peer.bind(("127.0.0.1", 0))
        command = perl(server, "udp", 5, "127.0.0.1", peer.getsockname()[1])
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            data, source = peer.recvfrom(100)
            assert data == b"hello"
            peer.sendto(b"answer", source)
            assert process.stdout.readline() == "answer\n"


# ---------------------------------------------------------------- curl with Kerberos


@pytest.mark.parametrize("nec", [False, True])
def test_curl_with_a_ticket(tmp_path, http_server, monkeypatch, nec):
    pytest.importorskip("gssapi", reason="the extra `gssapi` is not installed")
    from pywrap.relay.kerberos import acceptor
    from pywrap.socks.serve import Gssapi

    curl = os.environ.get("PYSOCKSIFY_TEST_CURL") or need("curl", "curl")
    text = done(curl, "--version")
    version = re.match(r"curl (\d+)\.(\d+)", text)
    if "GSS-API" not in text or tuple(map(int, version.groups())) < (8, 0):
        pytest.skip("this curl cannot (findings/curl-socks5-gssapi.sh); scripts/clients fetches one that can")
    with installed(), realm(tmp_path, service="rcmd") as kerberos:
        for key, value in kerberos.environ.items():
            monkeypatch.setenv(key, value)
        # It asks for confidentiality, and then cannot do what it has asked for.
        with reference_server(gssapi=Gssapi(acceptor(kerberos.service), (0,))) as server:
            url = f"http://127.0.0.1:{http_server.port}/"
            proxy = ("--socks5", f"localhost:{server.port}", *(("--socks5-gssapi-nec",) if nec else ()))
            assert done(curl, "-sS", "--socks5-gssapi", *proxy, url).encode() == HELLO
            assert [seen.user for seen in server.seen] == ["alice@PYSOCKSIFY.TEST"]


def test_nothing_is_left_out_by_accident():
    """Where all of it is installed, as in CI."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        assert shutil.which("nc.openbsd") and shutil.which("msmtp") and shutil.which("socat")
