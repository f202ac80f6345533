"""A dialogue with a chain on a non-blocking socket: a state machine that never waits itself.

Who waits is the caller's affair: ``wait_for`` does it in the calling thread, for sockets that may
block; ``background`` does it for any number of them in a thread of its own.
"""

from __future__ import annotations

import errno
from _socket import SO_ERROR, SOL_SOCKET

from pywrap.errors import ProxyClosed, SocksError
from pywrap.socks.wire import Endpoint, Send
from pywrap.tunnel.dial import fit, like

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.socks.wire import Dialogue, Recv
    from pywrap.tunnel.deadline import Deadline
    from pywrap.tunnel.dial import FirstHop

# As in poll(2) and epoll(7), which agree on them.
POLLIN = 1
POLLOUT = 4


class Opening:
    """One dialogue, from the first hop's addresses to its end: for a tunnel, a UDP association, a BIND.

    ``talk()`` makes the dialogue when the first hop is connected. ``bound``: what it returned.

    ``sock`` is the connection: the program's own, or a replacement where that one cannot reach the first
    hop (another family). ``wants`` is POLLIN or POLLOUT: what to wait for on it before ``advance``.
    """

    __slots__ = (
        "_addresses",
        "_buffer",
        "_dialogue",
        "_failure",
        "_first",
        "_given",
        "_step",
        "_talk",
        "bound",
        "deadline",
        "sock",
        "wants",
    )

    def __init__(
        self,
        sock: _socket.socket,
        first: FirstHop,
        talk: Callable[[], Dialogue[Endpoint]],
        deadline: Deadline,
    ) -> None:
        self.sock = sock
        self.wants = POLLOUT
        self.deadline = deadline
        self._given = sock
        self._first = first
        self._talk = talk
        self.bound = Endpoint("", 0)
        self._addresses = iter(first.addresses())
        self._failure: SocksError | None = None
        self._dialogue: Dialogue[Endpoint] | None = None
        self._step: Send | Recv = Send()
        self._buffer = bytearray()

    @property
    def dialled(self) -> bool:
        """Is the first hop connected? Then ``sock`` will not change any more."""
        return self._dialogue is not None

    def start(self) -> bool:
        """Begin; the result is that of ``advance``."""
        return self._dial()

    def advance(self) -> bool:
        """Go as far as possible without waiting; tell whether the tunnel stands.

        Raises:
            SocksError: it never will.
        """
        if self._dialogue is not None:
            return self._converse()
        error = self.sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if error:
            self._failure = self._first.unreachable(OSError(error, ""))
            return self._dial()
        return self._connected()

    def expire(self) -> bool:
        """The deadline's moment has passed: go on with the next address, or give up.

        Raises:
            TimeoutError: the program's own timeout ended.
            SocksError: one of ours did.
        """
        timeout = self.deadline.over()
        if self._dialogue is not None:
            self._dialogue.throw(timeout)
            raise AssertionError("no dialogue survives a timeout")
        self._failure = self._first.unreachable(OSError(timeout.errno, ""))
        # The kernel goes on trying on this one.
        self._use(like(self.sock, self.sock.family))
        return self._dial()

    def abandon(self) -> None:
        """Close what was opened here; the program's own socket is left as it is."""
        self._use(self._given)

    def _use(self, sock: _socket.socket) -> None:
        if self.sock is not self._given and self.sock is not sock:
            self.sock.close()
        self.sock = sock

    def _dial(self) -> bool:
        for address in self._addresses:
            try:
                sock, sockaddr = fit(self.sock, address)
                self._use(sock)
                self.deadline.connecting()
                _connect(sock, sockaddr)
            except BlockingIOError:
                self.wants = POLLOUT
                return False
            except OSError as err:
                self._failure = self._first.unreachable(err)
            else:
                return self._connected()
        if self._failure is None:
            raise AssertionError("getaddrinfo() never returns an empty list")
        raise self._failure

    def _connected(self) -> bool:
        self._dialogue = self._talk()
        self._take(next(self._dialogue))
        return self._converse()

    def _take(self, step: Send | Recv) -> None:
        self._step = step
        self._buffer = bytearray(step if isinstance(step, Send) else b"")
        self.deadline.waiting()

    def _converse(self) -> bool:
        """Do what the dialogue asks for, until it ends or the socket makes us wait."""
        assert self._dialogue is not None
        try:
            while True:
                try:
                    answer = self._perform()
                except BlockingIOError:
                    return False
                except OSError as err:
                    self._take(self._dialogue.throw(_broken(err)))
                except ProxyClosed as err:
                    # Into the dialogue, which knows the hop.
                    self._take(self._dialogue.throw(err))
                else:
                    self._take(self._dialogue.send(answer))
        except StopIteration as end:
            self.bound = end.value
            return True

    def _perform(self) -> bytes:
        step, buffer = self._step, self._buffer
        if isinstance(step, Send):
            self.wants = POLLOUT
            while buffer:
                del buffer[: self.sock.send(buffer)]
            return b""
        self.wants = POLLIN
        while len(buffer) < step:
            chunk = self.sock.recv(step - len(buffer))
            if not chunk:
                raise ProxyClosed(f"the proxy hung up after {len(buffer)} of {int(step)} bytes")
            buffer += chunk
        return bytes(buffer)


def _connect(sock: _socket.socket, sockaddr: tuple[Any, ...]) -> None:
    try:
        sock.connect(sockaddr)
    except ConnectionAbortedError:
        # Linux tells so of the attempt before this one, when that failed.
        sock.connect(sockaddr)


def wait_for(opening: Opening, poll: Callable[[], Any]) -> _socket.socket:
    """Open a tunnel in the calling thread; return the connected socket, in non-blocking mode.

    Raises:
        SocksError: a proxy is not reachable, or refuses.
        TimeoutError: the program's own timeout ended.
    """
    try:
        done = opening.start()
        poller = poll()
        while not done:
            fd = opening.sock.fileno()
            poller.register(fd, opening.wants)
            # One millisecond more than a truncation: a poll that ends early would only spin.
            ready = poller.poll(int(opening.deadline.remaining() * 1000) + 1)
            # The next step may be about another socket.
            poller.unregister(fd)
            done = opening.advance() if ready else opening.expire()
    except BaseException:
        opening.abandon()
        raise
    return opening.sock


def _broken(err: OSError) -> ProxyClosed:
    return ProxyClosed(f"the connection to the proxy broke: {err.strerror}", errno.ECONNRESET)
