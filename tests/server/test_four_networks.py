"""Client, server, upstream proxy and target on machines of their own, and the loss of each link between them.

::

    client 10.11.0.1 -- 10.11.0.2 server 10.12.0.1 -- 10.12.0.2 upstream 10.13.0.1 -- 10.13.0.2 target
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support import peers
from tests.support.installed import installed
from tests.support.namespaces import running
from tests.support.raw_sockets import receive
from tests.support.run import program

PLACES = ("client", "server", "upstream", "target")
LINKS = tuple(zip(PLACES, PLACES[1:], strict=False))
SERVER, UPSTREAM, TARGET = ("10.11.0.2", 1080), ("10.12.0.2", 1080), ("10.13.0.2", 7)
# Seconds that the servers give to what does not answer, and that a test waits for them.
LIMIT, PATIENCE = 2, 60
GREETING = b"\x05\x01\x00"


class Networks:
    """Four namespaces in a row; ``at(place)`` is what to put before a command to run it there."""

    def __init__(self) -> None:
        self._ip = peers.find("ip", package="iproute2")
        if os.geteuid() != 0:
            raise peers.Missing("network namespaces of our own need root")
        self.names = {place: f"pysocksify-{os.getpid()}-4-{place}" for place in PLACES}

    def at(self, place: str) -> tuple[str, ...]:
        return self._ip, "netns", "exec", self.names[place]

    def make(self) -> None:
        for place in PLACES:
            self._do("netns", "add", self.names[place])
            self.inside(place, "link", "set", "lo", "up")
        for number, (near, far) in enumerate(LINKS, 11):
            peer = ("peer", "name", "to-near", "netns", self.names[far])
            self.inside(near, "link", "add", "to-far", "type", "veth", *peer)
            for place, device, host in ((near, "to-far", 1), (far, "to-near", 2)):
                self.inside(place, "addr", "add", f"10.{number}.0.{host}/24", "dev", device)
                self.inside(place, "link", "set", device, "up")

    def remove(self) -> None:
        for name in self.names.values():
            subprocess.run([self._ip, "netns", "delete", name], stderr=subprocess.DEVNULL)

    def inside(self, place: str, *words: str) -> None:
        self._do("-n", self.names[place], *words)

    def _do(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True)

    @contextlib.contextmanager
    def without(self, link: tuple[str, str], end: str) -> Iterator[None]:
        """Take ``link`` down at its ``end``: "near", where the kernel knows at once, or "far"."""
        place, device = (link[0], "to-far") if end == "near" else (link[1], "to-near")
        self.inside(place, "link", "set", device, "down")
        try:
            yield
        finally:
            self.inside(place, "link", "set", device, "up")
            # Kernels remember for seconds that a neighbour has not answered.
            for where, each in (link[0], "to-far"), (link[1], "to-near"):
                self.inside(where, "neighbour", "flush", "dev", each)

    def socket_at(self, place: str, kind: int = socket.SOCK_STREAM) -> socket.socket:
        """A socket of this process in the network of ``place``: a thread enters it to make one."""
        made: list[socket.socket] = []

        def make() -> None:
            with open(f"/run/netns/{self.names[place]}", "rb") as namespace:
                assert _setns(namespace.fileno(), _CLONE_NEWNET) == 0
            made.append(socket.socket(type=kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].settimeout(PATIENCE)
        return made[0]


# From linux/sched.h.
_CLONE_NEWNET = 0x40000000


def _setns(fd: int, kind: int) -> int:
    import ctypes

    return int(ctypes.CDLL(None, use_errno=True).setns(fd, kind))


@pytest.fixture(scope="module")
def networks() -> Iterator[Networks]:
    with installed():
        made = Networks()
    try:
        made.make()
        pysocksd = (sys.executable, "-m", "pywrap.server", "--allow", "0.0.0.0/0")
        limits = ("--connect-timeout", str(LIMIT), "--idle-timeout", str(LIMIT))
        upstream = (*pysocksd, *limits, "--listen", "10.12.0.2:1080")
        server = (*pysocksd, *limits, "--listen", "10.11.0.2:1080", "--proxy", "socks5h://10.12.0.2:1080")
        with made.socket_at("target") as listener, contextlib.ExitStack() as stack:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(TARGET)
            listener.listen(100)
            fd = listener.fileno()
            echo = subprocess.Popen([*program("hold_connections.py"), str(fd)], pass_fds=[fd])
            stack.callback(echo.wait)
            stack.callback(echo.kill)
            stack.enter_context(running(made, "upstream", *upstream, ready=UPSTREAM))  # type: ignore[arg-type]
            stack.enter_context(running(made, "server", *server, ready=SERVER))  # type: ignore[arg-type]
            yield made
    finally:
        made.remove()


def ask(networks, command=1, destination=TARGET):
    """The client's connection, and the reply's code; None when the server hangs up without."""
    sock = networks.socket_at("client")
    sock.connect(SERVER)
    place = socket.inet_aton(destination[0]) + destination[1].to_bytes(2, "big")
    sock.sendall(GREETING + bytes([5, command, 0, 1]) + place)
    reply = receive(sock, 12)
    return sock, reply[3], reply


def works(networks):
    sock, code, _ = ask(networks)
    with sock:
        assert code == 0
        sock.sendall(b"hello")
        assert receive(sock, 5) == b"hello"


def test_all_links_stand(networks):
    works(networks)


@pytest.mark.parametrize("end", ["near", "far"])
@pytest.mark.parametrize("link", LINKS[1:], ids="-".join)
def test_a_link_is_lost_and_requests_are_refused_in_time(networks, link, end):
    with networks.without(link, end):
        began = time.monotonic()
        sock, code, _ = ask(networks)
        sock.close()
        # Unreachable, or too slow; the server says general failure of its own upstream.
        assert code in (1, 3, 4, 6)
        assert time.monotonic() - began < 10 * LIMIT
    works(networks)


@pytest.mark.parametrize("end", ["near", "far"])
@pytest.mark.parametrize("link", LINKS, ids="-".join)
def test_a_link_is_lost_below_a_tunnel(networks, link, end):
    """The servers end it when nothing has passed for the idle time-out, at both of its sides."""
    sock, code, _ = ask(networks)
    with sock:
        assert code == 0
        sock.sendall(b"hello")
        assert receive(sock, 5) == b"hello"
        with networks.without(link, end):
            if link != LINKS[0]:
                with contextlib.suppress(ConnectionResetError):
                    assert sock.recv(1) == b""
            else:
                end_of_all(networks, "server")
    works(networks)


@pytest.mark.parametrize("end", ["near", "far"])
@pytest.mark.parametrize("link", LINKS, ids="-".join)
def test_a_link_is_lost_below_an_association(networks, link, end):
    sock, code, reply = ask(networks, 3, ("0.0.0.0", 0))
    with sock:
        assert code == 0
        relay = (socket.inet_ntoa(reply[6:10]), int.from_bytes(reply[10:], "big"))
        with networks.socket_at("client", socket.SOCK_DGRAM) as udp, networks.without(link, end):
            with contextlib.suppress(OSError):
                udp.sendto(b"\0\0\0\1" + socket.inet_aton(TARGET[0]) + b"\0\7hello", relay)
            if link != LINKS[0]:
                with contextlib.suppress(ConnectionResetError):
                    assert sock.recv(1) == b""
            else:
                end_of_all(networks, "server")
    works(networks)


def end_of_all(networks, place):
    """Wait until nothing is connected at ``place``, whose client cannot be told."""
    end = time.monotonic() + PATIENCE
    while True:
        command = [*networks.at(place), "ss", "-Hnt", "state", "established"]
        left = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if not left.strip():
            return
        assert time.monotonic() < end, left
        time.sleep(0.05)
