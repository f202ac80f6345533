"""connect_ex() and a poller, as event loops do it: nonblocking.py HOST PORT POLLER [WHEN]

POLLER: select poll epoll epoll-edge selectors. WHEN: "after" (the default) registers the
descriptor after connect_ex(), "before" already before it. Expects an echo server.
"""

import errno
import json
import os
import select
import selectors
import socket
import sys
from typing import Any

host, port, how = sys.argv[1], int(sys.argv[2]), sys.argv[3]
when = sys.argv[4] if len(sys.argv) > 4 else "after"
SECONDS = 30


class Select:
    def watch(self, fd, writing):
        self.fd, self.writing = fd, writing

    def wait(self):
        wanted = [self.fd]
        readable, writable, broken = select.select(
            [] if self.writing else wanted, wanted if self.writing else [], wanted, SECONDS
        )
        return bool(readable or writable or broken)


class Poll:
    def __init__(self):
        self.poller = select.poll()
        self.unit = 1000

    def watch(self, fd, writing):
        self.poller.register(fd, select.POLLOUT if writing else select.POLLIN)

    def wait(self):
        return bool(self.poller.poll(SECONDS * self.unit))


class Epoll(Poll):
    edge = 0

    def __init__(self):
        self.poller = select.epoll()
        self.unit = 1
        self.known = False

    def watch(self, fd, writing):
        events = (select.EPOLLOUT if writing else select.EPOLLIN) | self.edge
        (self.poller.modify if self.known else self.poller.register)(fd, events)
        self.known = True


class EpollEdge(Epoll):
    edge = select.EPOLLET


class Selectors:
    def __init__(self):
        self.poller = selectors.DefaultSelector()
        self.known = False

    def watch(self, fd, writing):
        events = selectors.EVENT_WRITE if writing else selectors.EVENT_READ
        (self.poller.modify if self.known else self.poller.register)(fd, events)
        self.known = True

    def wait(self):
        return bool(self.poller.select(SECONDS))


pollers = {"select": Select, "poll": Poll, "epoll": Epoll, "epoll-edge": EpollEdge, "selectors": Selectors}
poller: Any = pollers[how]()
result = {}
sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
sock.setblocking(False)
if when == "before":
    poller.watch(sock.fileno(), True)
number = sock.connect_ex((host, port))
result["connect_ex"] = errno.errorcode.get(number, number)
if when == "after":
    poller.watch(sock.fileno(), True)
result["woken"] = poller.wait()
# A socket that is not connecting yet is "writable" with a hang-up; programs that register first ask again.
while when == "before" and sock.connect_ex((host, port)) in (errno.EALREADY, errno.EINPROGRESS):
    result["woken"] = poller.wait()
number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
result["SO_ERROR"] = errno.errorcode.get(number, number)
if number == 0:
    number = sock.connect_ex((host, port))
    result["again"] = errno.errorcode.get(number, number)
    result["peer"] = sock.getpeername()[:2]
    sock.send(b"hello")
    poller.watch(sock.fileno(), False)
    answer = b""
    while len(answer) < 5:
        assert poller.wait(), f"nothing to read after {answer!r}"
        try:
            answer += os.read(sock.fileno(), 100)
        except BlockingIOError:
            pass
    result["echoed"] = answer.decode()
sock.close()
print(json.dumps(result))
