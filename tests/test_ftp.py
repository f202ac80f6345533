"""FTP, active and passive, between two networks that only a proxy joins: ftplib and pyftpdlib."""

from __future__ import annotations

import contextlib
import sys

import pytest
import trustme

from tests.support import namespaces
from tests.support.installed import installed
from tests.support.run import program, pysocksify, run

FTP = 2121
FTPS = 2122


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The two networks, an FTP server in one of them, and the file with its authority."""
    directory = tmp_path_factory.mktemp("ftp")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    certificate = authority.issue_cert(*namespaces.SERVER.values())
    certificate.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    (directory / "files").mkdir()
    with installed(), contextlib.ExitStack() as stack:
        made = stack.enter_context(namespaces.networks())
        for host in namespaces.SERVER.values():
            for port, more in ((FTP, ()), (FTPS, (directory / "server.pem",))):
                words = (host, port, directory / "files", *more)
                command = (*program("serve_ftp.py"), *map(str, words))
                stack.enter_context(namespaces.running(made, "server", *command, ready=(host, port)))
        made.ca = directory / "ca.pem"
        yield made


@pytest.fixture(scope="module", params=["reference", "dante"])
def proxied(request, networks):
    """The networks with a proxy between them."""
    with installed(), getattr(namespaces, request.param)(networks):
        yield networks


@pytest.mark.parametrize("family", [4, 6])
def test_there_is_no_other_way(networks, family):
    code = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])))"
    ran = run(*networks.at("client"), sys.executable, "-c", code, namespaces.SERVER[family], FTP, status=1)
    assert "Network is unreachable" in ran.err


@pytest.mark.parametrize("mode", ["active", "passive"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("family", [4, 6])
def test_up_and_down(proxied, family, tls, mode):
    host = namespaces.SERVER[family]
    ran = run(
        *proxied.at("client"),
        *pysocksify("-x", namespaces.url(family), "--listen", "bind", "-v"),
        *program("transfer_ftp.py"),
        *((host, FTPS, mode, proxied.ca) if tls else (host, FTP, mode)),
    )
    port = FTPS if tls else FTP
    assert ran.json == {"same": True, "listed": True, "peer": [host, port]}
    # One for each transfer, and none that is not used.
    assert ran.err.count("listening at") == (3 if mode == "active" else 0)
    assert ran.err.count("accepted") == (3 if mode == "active" else 0)
    assert "no peer came" not in ran.err
