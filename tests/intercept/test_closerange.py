"""Programs that close descriptors by the number, as daemons do: ours are among them.

What has our numbers afterwards is the program's own, and we neither write to it nor close it.
"""

from __future__ import annotations

import errno
import faulthandler
import os
import select
import socket
import socketserver
import tempfile
import threading
import warnings
from collections.abc import Iterator

import pytest

from tests.support.child import kernel
from tests.support.inside import PATIENCE, descriptors, echo, outcome, say, start, udp, wait_writable
from tests.support.servers import reference_server

# A destination port that the proxy never answers for.
SILENT = 9


class _Proxy(socketserver.StreamRequestHandler):
    """SOCKS5, which grants every CONNECT and echoes what follows, but for the port above."""

    def handle(self) -> None:
        greeting = self.rfile.read(2)
        if not greeting:
            return
        self.rfile.read(greeting[1])
        self.wfile.write(b"\x05\x00")
        head = self.rfile.read(4)
        self.rfile.read(4 if head[3] == 1 else self.rfile.read(1)[0])
        port = int.from_bytes(self.rfile.read(2), "big")
        if port == SILENT:
            self.rfile.read()
            return
        self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
        while data := self.request.recv(4096):
            self.wfile.write(data)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def granting() -> Iterator[str]:
    with _Server(("127.0.0.1", 0), _Proxy) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"socks5h://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


class Files:
    """Files of the program's at all numbers that are free below 256."""

    def __init__(self):
        # Not closed by this object: the descriptors are what it is about.
        self.opened = {}
        while max(self.opened, default=0) < 100:
            fd = os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR, 0o600)
            os.write(fd, b"the program's")
            os.lseek(fd, 0, os.SEEK_SET)
            self.opened[fd] = os.fstat(fd).st_ino

    def harmed(self):
        found = []
        for fd, number in self.opened.items():
            try:
                if os.fstat(fd).st_ino != number or os.pread(fd, 100, 0) != b"the program's":
                    found.append(fd)
                if os.lseek(fd, 0, os.SEEK_CUR) != 0:
                    found.append(fd)
            except OSError:
                found.append(fd)
        return found


def pending():
    # Out of the way of what is closed.
    low = []
    while (sock := socket.socket()).fileno() < 256:
        low.append(sock)
    for each in low:
        each.close()
    sock.setblocking(False)
    assert sock.connect_ex(("192.0.2.1", 9)) == errno.EINPROGRESS
    return sock


def fresh(blocking=True):
    with socket.socket() as sock:
        if blocking:
            sock.settimeout(PATIENCE)
            sock.connect(("192.0.2.1", 80))
        else:
            sock.setblocking(False)
            assert sock.connect_ex(("192.0.2.1", 80)) == errno.EINPROGRESS
            assert wait_writable(sock) == 0
        return echo(sock)


def closerange():
    os.closerange(3, 256)


def close_each():
    for fd in range(3, 256):
        outcome(os.close, fd)


def close_those_of_the_thread():
    """What the program has lives."""
    for fd in map(int, descriptors()):
        name = os.readlink(f"/proc/self/fd/{fd}") if os.path.exists(f"/proc/self/fd/{fd}") else ""
        if "eventpoll" in name or "pipe" in name and fd > 2:
            os.close(fd)


def close_its_epoll():
    for fd in map(int, descriptors()):
        name = os.readlink(f"/proc/self/fd/{fd}") if os.path.lexists(f"/proc/self/fd/{fd}") else ""
        if "eventpoll" in name:
            os.close(fd)
            # Another that is waited by, and not ours.
            others.append(select.epoll())
            assert others[-1].fileno() == fd


# Stay open.
others = []


@pytest.mark.parametrize("close", [closerange, close_each, close_those_of_the_thread, close_its_epoll])
def test_what_has_our_numbers_is_not_touched_and_nothing_hangs(close, granting):
    def program():
        faulthandler.dump_traceback_later(20, exit=True)
        socks = [pending(), pending()]
        # The thread has begun with those before this one.
        before = fresh(blocking=False)
        close()
        files = Files()
        after = [before, fresh(), fresh(blocking=False), fresh(blocking=False)]
        ends = [wait_writable(sock) for sock in socks]
        for sock in socks:
            # As after every failure, they can be connected once more.
            sock.settimeout(PATIENCE)
            sock.connect(("192.0.2.1", 80))
            after.append(echo(sock))
            sock.close()
        after.append(fresh(blocking=False))
        say(harmed=files.harmed(), after=after, ends=[errno.errorcode[end] for end in ends])

    said = kernel(granting, program, timeout=55)
    assert said["harmed"] == []
    assert said["after"] == ["hello"] * 7
    assert said["ends"] == ["ECONNABORTED"] * 2


def test_a_child_that_becomes_a_daemon_has_connections_and_the_parent_keeps_its_own(granting):
    def program():
        faulthandler.dump_traceback_later(20, exit=True)
        # Python 3.12 warns of every thread.
        warnings.simplefilter("ignore")
        sock = start("192.0.2.1", 9)
        other = start("192.0.2.1", 80)
        pid = os.fork()
        if not pid:
            os.setsid()
            os.closerange(3, 256)
            files = Files()
            good = [fresh(), fresh(blocking=False)] == ["hello"] * 2 and files.harmed() == []
            os._exit(0 if good else 1)
        _, status = os.waitpid(pid, 0)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        say(status=status, error=wait_writable(other), said=echo(other), pending=error)

    said = kernel(granting, program, timeout=55)
    assert said == {"status": 0, "error": 0, "said": "hello", "pending": 0}


def test_associations_are_made_anew(echo):
    def program(host, port):
        faulthandler.dump_traceback_later(20, exit=True)
        sock = udp()
        sock.sendto(b"before", (host, port))
        got = [sock.recv(100).decode()]
        os.closerange(3, 256)
        files = Files()
        again = udp()
        again.sendto(b"after", (host, port))
        got.append(again.recv(100).decode())
        sock.detach()
        del sock
        say(harmed=files.harmed(), got=got)

    with reference_server() as proxy:
        said = kernel(proxy.url(), program, echo.host, echo.port, timeout=55)
    assert said == {"harmed": [], "got": ["before", "after"]}
