"""Proxies over TLS and with Kerberos: what cannot be patched is confined, and its relay speaks to them."""

import contextlib
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.support import namespaces
from tests.support.authority import Authority
from tests.support.child import source_of
from tests.support.confined import CLOSED, ECHO, HTTP, RESETTING, UDP_ECHO
from tests.support.kerberos import realm, silent_kdc
from tests.support.namespaces import INSIDE, SERVER
from tests.support.peers import Missing
from tests.support.run import program, pysocksify, run
from tests.support.servers import reference_server

PORT = 1443


@contextlib.contextmanager
def an_authority():
    """Its certificate is readable for ordinary users."""
    with tempfile.TemporaryDirectory(prefix="pysocksify-authority-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        made = Authority(folder)
        made.issue(INSIDE[4])
        yield made


@pytest.fixture(scope="module")
def authority():
    with an_authority() as made:
        yield made


@pytest.fixture
def over_tls(client, authority):
    """The words before a program of ``client``, with a server behind a TLS front as the proxy."""
    front = (sys.executable, "-m", "pywrap.server", "--listen-tls", f"{INSIDE[4]}:{PORT}")
    files = ("--certificate", str(authority.certificate), "--key", str(authority.key))
    rules = ("--allow", "0.0.0.0/0", "--allow", "::/0")
    with namespaces.running(client.made, "proxy", *front, *files, *rules, ready=(INSIDE[4], PORT)):
        yield lambda *options, ca=authority.ca: client.command(
            *options, proxy=f"socks5h+tls://{INSIDE[4]}:{PORT}?ca={ca}"
        )


def test_programs_are_confined_by_themselves(client, over_tls):
    inside = client.package / "inside.py"
    python = (client.python, "-I", "-S", inside)
    assert run(*over_tls(), *python, "talk", f'["{SERVER[4]}", {ECHO}, 5000000]').json
    broken = run(*over_tls(), *python, "broken", f'["{SERVER[4]}", {RESETTING}]').json
    assert broken == ["half of ", "ECONNRESET"]
    refused = run(*over_tls(), *python, "connect", f'["{SERVER[4]}", {CLOSED}]').json
    assert refused[0] == "ECONNREFUSED"


def test_a_python_program_too(client, over_tls):
    code = f"import urllib.request as r; print(r.urlopen('http://{SERVER[4]}:{HTTP}/').read())"
    assert run(*over_tls(), client.python, "-c", code).out == "b'hello\\n'\n"


def test_another_authority_is_an_error_of_the_connection(client, over_tls):
    code = f"import socket; socket.create_connection(('{SERVER[4]}', {HTTP}))"
    with an_authority() as other:
        ran = run(*over_tls("-v", ca=other.ca), client.python, "-c", code, status=1)
    assert "TLS: " in ran.err and f"proxy {INSIDE[4]}:{PORT}" in ran.err


def test_datagrams_do_not_go_beside_it(client, over_tls):
    def program(host, port):
        import socket

        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.settimeout(20)
            sock.connect((host, port))
            sock.send(b"x")
            try:
                print(sock.recv(9))
            except ConnectionRefusedError:
                print("refused")

    ran = run(*over_tls("-v"), client.python, "-c", source_of(program, SERVER[4], UDP_ECHO))
    assert ran.out == "refused\n"
    assert "datagrams would not be secured" in ran.err


def test_not_without_a_confinement(client, over_tls):
    ran = run(*over_tls("--confine", "off"), client.python, "-c", "", status=125)
    assert "a proxy over TLS needs a relay, which a confinement has" in ran.err
    code = "import pywrap; pywrap.install('socks5h+tls://h')"
    ran = run(client.python, "-c", code, cwd=client.package, status=1)
    assert "a proxy over TLS needs a relay" in ran.err


@pytest.mark.parametrize("client", ["root"], indirect=True)
@pytest.mark.parametrize("protection", ["none", "integrity", "confidentiality"])
def test_a_ticket_of_kerberos(client, http_server, tmp_path, monkeypatch, protection):
    pytest.importorskip("gssapi", reason="the extra `gssapi` is not installed")
    from pywrap.relay.kerberos import acceptor
    from pywrap.socks.serve import Gssapi

    try:
        with realm(tmp_path) as kerberos:
            for key, value in kerberos.environ.items():
                monkeypatch.setenv(key, value)
            gssapi = Gssapi(acceptor(kerberos.service), (0, 1, 2, 3))
            with reference_server(gssapi=gssapi) as server:
                url = f"socks5h://localhost:{server.port}?gssapi&protection={protection}"
                words = pysocksify("-x", url, "--loopback", "proxy")
                fetch = program("fetch_urllib.py")
                ran = run(*words, *fetch, f"http://127.0.0.1:{http_server.port}/")
                assert ran.out
                assert [seen.user for seen in server.seen] == ["alice@PYSOCKSIFY.TEST"]
    except Missing as err:
        pytest.skip(f"no KDC: {err}")


@pytest.mark.parametrize("client", ["root"], indirect=True)
def test_a_kdc_that_is_silent_keeps_nothing_else_waiting(client, tmp_path, monkeypatch):
    pytest.importorskip("gssapi", reason="the extra `gssapi` is not installed")
    from pywrap.relay.kerberos import acceptor
    from pywrap.socks.serve import Gssapi

    def answer(kdc, listener):
        # Not before the KDC has been asked.
        kdc.recvfrom(4096)
        sock, _ = listener.accept()
        with sock:
            sock.sendall(b"served\n")

    try:
        with realm(tmp_path) as kerberos, silent_kdc(kerberos, tmp_path) as (environ, kdc):
            for key, value in kerberos.environ.items():
                monkeypatch.setenv(key, value)
            gssapi = Gssapi(acceptor(kerberos.service), (0,))
            with (
                reference_server(gssapi=gssapi) as server,
                socket.create_server(("127.0.0.1", 0)) as listener,
            ):
                thread = threading.Thread(target=answer, args=(kdc, listener))
                thread.start()
                url = f"socks5h://localhost:{server.port}?gssapi"
                port = listener.getsockname()[1]
                other = (*program("beside_a_tunnel.py"), "192.0.2.1", "80", "127.0.0.1", str(port))
                ran = run(*pysocksify("-x", url), *other, env=environ)
                thread.join()
                assert ran.out == "served\nunder way\n"
    except Missing as err:
        pytest.skip(f"no KDC: {err}")


def test_curl_through_two_fronts(client, over_tls, authority):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    second = ("-x", f"socks5h+tls://{INSIDE[4]}:{PORT}?pin={authority.pin}")
    ran = run(*over_tls(*second), "curl", "-sS", f"http://{SERVER[4]}:{HTTP}/")
    assert ran.out == "hello\n"
