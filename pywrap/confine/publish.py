"""``--publish``: servers inside, reached from outside, as docker's -p does it.

The launcher listens outside, and carries each connection to 127.0.0.1 inside, or to ::1 if the server listens
there. For that it needs new sockets of the namespace, which only a process inside can make: a child of the
launcher enters the namespaces, makes a socket at each request, and hands it out. The child has one thread and
executes no program, so it may join the namespaces (setns(2)). It ends with the broker.
"""

from __future__ import annotations

import errno
import os
import signal
import struct
from _socket import (
    AF_INET,
    AF_INET6,
    AF_UNIX,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_ERROR,
    SO_REUSEADDR,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
    socketpair,
)

from pywrap.config.config_error import ConfigError
from pywrap.config.host import parse_host, parse_port
from pywrap.confine import kernel
from pywrap.frozen import frozen
from pywrap.relay.loop import IN, OUT
from pywrap.relay.relay import prepare, reset
from pywrap.socks.wire import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.confine.listeners import Listeners
    from pywrap.relay.loop import Loop

FORM = "[HOST:]PORT[:PORT]"
_HERE = "127.0.0.1"
_SCM_RIGHTS = 1
_BACKLOG = 128
# The source address of published connections, as the server inside sees it: no program inside has it.
SOURCE = "127.64.0.1"


@frozen
class Publication:
    """Connections to ``host`` and ``port`` outside are carried to the port ``inside`` of loopback inside."""

    host: str
    port: int
    inside: int


def parse(text: str) -> Publication:
    """Read ``[HOST:]PORT[:PORT]``; the host is 127.0.0.1 unless given, and the port inside is the same.

    Raises:
        ConfigError: ``text`` is not in this form.
    """
    host, _, rest = text.rpartition("]:")
    if host:
        words, host = rest.split(":"), host.removeprefix("[")
    else:
        words = text.split(":")
        if len(words) > 1 and parse_port(words[0]) is None:
            host = words.pop(0)
    ports = [parse_port(word) for word in words]
    if not 1 <= len(ports) <= 2 or not all(ports):
        raise ConfigError(f"`--publish` takes {FORM}: `{text}`", "as in 8080, 8080:80 or 0.0.0.0:8080:80")
    host = parse_host(host) if host else _HERE
    if packed(host) is None:
        raise ConfigError(f"`--publish` takes an address: `{text}`", "as in 0.0.0.0:8080:80")
    outside, inside = ports[0], ports[-1]
    assert outside is not None and inside is not None
    return Publication(host, outside, inside)


def listen(publication: Publication) -> socket:
    """The listening socket outside.

    Raises:
        ConfigError: the address or port is not free, or not allowed.
    """
    family = AF_INET6 if ":" in publication.host else AF_INET
    sock = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
    try:
        sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        if family == AF_INET6:
            sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
        sock.bind((publication.host, publication.port))
        sock.listen(_BACKLOG)
    except OSError as err:
        sock.close()
        where = f"{publication.host} port {publication.port}"
        raise ConfigError(f"cannot publish at {where}: {os.strerror(err.errno or 0)}") from err
    return sock


class Maker:
    """The process inside that makes sockets; ``program``: the pid of one in the namespaces to join."""

    def __init__(self, program: int) -> None:
        self._channel, far = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        self.pid = os.fork()
        if self.pid == 0:
            _serve(far, program, self._channel)
        far.close()
        if self._channel.recv(1) != b"r":
            raise OSError(errno.EPERM, "cannot enter the program's network")

    def make(self, family: int) -> socket:
        """A new TCP socket of the namespace."""
        self._channel.send(bytes([family]))
        _, extra, *_ = self._channel.recvmsg(1, 64)
        (number,) = struct.unpack("@i", extra[0][2])
        os.set_inheritable(number, False)
        return socket(fileno=number)

    def close(self) -> None:
        """Let it end."""
        self._channel.close()


def _serve(channel: socket, program: int, other_end: socket) -> None:
    status = 1
    try:
        other_end.close()
        # A session of its own, since the signals of the terminal are for the program.
        os.setsid()
        kernel.undumpable()
        for name in ("user", "net"):
            kernel.join(f"/proc/{program}/ns/{name}")
        # Close all descriptors of the launcher, which this process would otherwise keep open.
        keep = channel.fileno()
        os.closerange(0, keep)
        os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        channel.send(b"r")
        while asked := channel.recv(1):
            made = socket(asked[0], SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
            channel.sendmsg([b"s"], [(SOL_SOCKET, _SCM_RIGHTS, struct.pack("@i", made.fileno()))])
            made.close()
        status = 0
    finally:
        os._exit(status)


class Published:
    """Accepts at ``listener`` and connects to ``port`` inside; ``carry(inner, outer)`` carries the bytes.

    ``source``: the IPv4 address that the server inside sees.
    """

    def __init__(
        self,
        loop: Loop,
        maker: Maker,
        listeners: Listeners,
        listener: socket,
        port: int,
        carry: Callable[[socket, socket], None],
        source: str = SOURCE,
    ) -> None:
        self._source = source
        self._loop = loop
        self._maker = maker
        self._listeners = listeners
        self._listener = listener
        self._port = port
        self._carry = carry
        loop.watch(listener.fileno(), IN, self._accept)

    def close(self) -> None:
        """Accept no more."""
        self._loop.close(self._listener)

    def _accept(self, events: int) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            # The client is gone; or no descriptor is left, and the client stays in the queue.
            return
        outer = socket(self._listener.family, self._listener.type, 0, fd)
        outer.setblocking(False)
        try:
            inner = self._connect()
        except OSError:
            inner = None
        if inner is None:
            reset(outer)
            outer.close()
            return
        self._loop.watch(inner.fileno(), OUT, lambda events: self._connected(outer, inner))

    def _connect(self) -> socket | None:
        """A socket that connects to the server inside; None when nothing listens there."""
        for family, host, source in ((AF_INET, "127.0.0.1", self._source), (AF_INET6, "::1", "::1")):
            address, own = packed(host), packed(source)
            assert address is not None and own is not None
            if not self._listeners.has(address, self._port, own, 1):
                continue
            sock = self._maker.make(family)
            prepare(sock)
            try:
                if family == AF_INET:
                    sock.bind((source, 0))
                sock.connect((host, self._port))
            except BlockingIOError:
                pass
            except OSError:
                sock.close()
                raise
            return sock
        return None

    def _connected(self, outer: socket, inner: socket) -> None:
        self._loop.unwatch(inner.fileno())
        if inner.getsockopt(SOL_SOCKET, SO_ERROR):
            reset(outer)
            outer.close()
            inner.close()
        else:
            self._carry(inner, outer)
