"""Programs, names and users for the tests of the server."""

from __future__ import annotations

import socket

import pytest

from pywrap.server.tcp import dial
from tests.support.pysocksd import Program


@pytest.fixture
def program():
    programs = []

    def start(*args):
        programs.append(Program(*args))
        return programs[-1]

    yield start
    for one in programs:
        one.close()


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users.txt"
    path.write_text("alice:secret\n")
    return path


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str] | OSError]:
    """What the resolver knows, in place of the machine's: name to addresses or an exception."""
    known: dict[str, list[str] | OSError] = {}
    real = dial._socket.getaddrinfo  # type: ignore[attr-defined]

    def getaddrinfo(host, port, *args):
        name = host.decode() if isinstance(host, bytes) else host
        if name not in known:
            return real(host, port, *args)
        if isinstance(known[name], Exception):
            raise known[name]
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [
            (family[":" in address], socket.SOCK_STREAM, 6, "", (address, port)) for address in known[name]
        ]

    monkeypatch.setattr(dial._socket, "getaddrinfo", getaddrinfo)  # type: ignore[attr-defined]
    return known
