"""A tunnel on a non-blocking socket, in one of the ways of its plan: a state machine that never waits itself.

The caller waits: ``wait_for`` in the calling thread, for sockets that may block; ``background`` for any
number of them, in a thread of its own.
"""

from __future__ import annotations

import errno
from _socket import IPPROTO_TCP, MSG_DONTWAIT, SHUT_RDWR, SO_ERROR, SOL_SOCKET

from pywrap.errors import ProxyClosed, ProxyTimeout, SocksError, counted
from pywrap.socks.wire import Endpoint, Send
from pywrap.tunnel.first_hop import clone_socket, is_lost, socket_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue, Recv
    from pywrap.tunnel.deadline import Deadline
    from pywrap.tunnel.first_hop import ProxyAddress
    from pywrap.tunnel.retry_policy import Attempt, RetryPolicy, SingleAttempt

    class Waited(Protocol):
        """What ``wait_for`` and ``background`` take: an ``TunnelAttempt``, or what has its face."""

        @property
        def sock(self) -> _socket.socket: ...
        @property
        def wants(self) -> int: ...
        @property
        def deadline(self) -> Moments: ...

        def start(self) -> bool: ...
        def advance(self) -> bool: ...
        def expire(self) -> bool: ...
        def abandon(self) -> None: ...

    class Moments(Protocol):
        @property
        def moment(self) -> float: ...
        def remaining(self) -> float: ...


# Seconds of silence that are told of a hop when the program gives up: not when it has only changed its mind.
_LONG = 2.0

# Of Linux 4.11; the module does not have it.
_TCP_FASTOPEN_CONNECT = 30

# As in poll(2) and epoll(7), which agree on them.
POLLIN = 1
POLLOUT = 4


class TunnelAttempt:
    """From the first hop's addresses to the end of a dialogue: for a tunnel, a UDP association, a BIND.

    When a way fails, the plan is asked for another. ``path``: the hops of the present one. ``bound``: what
    its dialogue returned.

    ``sock`` is the connection: the program's own, or a replacement where that one cannot reach the first
    hop (another family), or has been used up by a way that failed. ``wants`` is POLLIN or POLLOUT: what to
    wait for on it before ``advance``.
    """

    __slots__ = (
        "_addresses",
        "_buffer",
        "_deferred",
        "_dialogue",
        "_failure",
        "_given",
        "_plan",
        "_step",
        "_underway",
        "_waiting",
        "_attempt",
        "bound",
        "deadline",
        "sock",
        "wants",
    )

    def __init__(self, sock: _socket.socket, plan: RetryPolicy | SingleAttempt, deadline: Deadline) -> None:
        self.sock = sock
        self.wants = POLLOUT
        self.deadline = deadline
        self._given = sock
        # What ``sock`` is, while that is the end of a look-up.
        self._waiting: _socket.socket | None = None
        self._plan = plan
        self._attempt: Attempt = plan.start()
        self.bound = Endpoint("", 0)
        self._addresses: Iterator[ProxyAddress] = iter(())
        self._failure: SocksError | None = None
        self._underway = False
        # With TCP Fast Open the dialogue begins before the first hop has answered.
        self._deferred = False
        self._dialogue: Dialogue[Endpoint] | None = None
        self._step: Send | Recv = Send()
        self._buffer = bytearray()

    @property
    def dialled(self) -> bool:
        """Is the first hop connected?"""
        return self._dialogue is not None

    @property
    def path(self) -> tuple[Proxy, ...]:
        """The hops of the way that stands, or is tried."""
        return self._attempt.path

    def start(self) -> bool:
        """Begin; the result is that of ``advance``."""
        return self._try(self._set_out)

    def advance(self) -> bool:
        """Go as far as possible without waiting; tell whether the tunnel stands.

        Raises:
            SocksError: it never will.
        """
        return self._try(self._advance)

    def expire(self) -> bool:
        """The deadline's moment has passed: go on with the next address or another way, or give up.

        Raises:
            TimeoutError: the program's own timeout ended.
            SocksError: one of ours did.
        """
        return self._try(self._expire)

    def _try(self, step: Callable[[], bool]) -> bool:
        """Do ``step``; when it fails, set out on other ways as long as there are any."""
        if is_lost(self.sock) or is_lost(self._given):
            # No hop's fault. The number may be a file of the program's, which is not to be talked to.
            self._underway = False
            raise SocksError("abandoned: the program has closed its descriptor", errno.ECONNABORTED)
        self._underway = True
        while True:
            try:
                done = step()
            except SocksError as err:
                if err.hop is None:
                    # It never came to a dialogue.
                    err.hop = err.dead = self.path[0]
                    err.unheard = True
                    if len(self.path) > 1:
                        err.args = (f"hop 1 of {len(self.path)}: {err}",)
                other = self._plan.next_after(err)
                if other is None or self.deadline.ended:
                    self._underway = False
                    error_to_report = self._plan.error_to_report(err)
                    if error_to_report is err:
                        raise
                    raise error_to_report from None
                self._attempt = other
                step = self._set_out
            else:
                if done:
                    self._underway = False
                    self._plan.succeeded()
                return done

    def _set_out(self) -> bool:
        if self._dialogue is not None:
            self._dialogue = None
            fresh = clone_socket(self._given, self._given.family)
            if self.sock is self._given:
                self._hang_up()
            self._use(fresh)
        self._failure = None
        self.deadline.share(self._attempt.part, self._attempt.seconds)
        first = self._attempt.first
        if first.is_fresh:
            self._addresses = iter(first.addresses())
            return self._dial()
        # On another descriptor meanwhile: a resolver takes what time it likes.
        self.deadline.connecting(self._attempt.connect_limit)
        self._waiting, self.sock = self.sock, first.look_up()
        self.wants = POLLIN
        return False

    def _named(self) -> bool:
        """The first hop's name is resolved, or has taken too long."""
        self._end_waiting()
        self._addresses = iter(self._attempt.first.found())
        return self._dial()

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            self.sock.close()
            self.sock, self._waiting = self._waiting, None

    def _hang_up(self) -> None:
        """End a dialogue on the program's own socket, which is not ours to close."""
        try:
            self.sock.shutdown(SHUT_RDWR)
        except OSError:
            # The other end did that already.
            pass

    def _advance(self) -> bool:
        if self._waiting is not None:
            return self._named()
        if self._dialogue is not None:
            return self._converse()
        error = self.sock.getsockopt(SOL_SOCKET, SO_ERROR)
        if error:
            self._failure = self._attempt.first.unreachable(OSError(error, ""))
            return self._dial()
        self._deferred = False
        return self._connected()

    def _is_unconnected(self) -> bool:
        """Whether the dialogue has begun and the first hop has not answered the SYN (TCP Fast Open)."""
        if self._deferred:
            try:
                self.sock.getpeername()
            except OSError:
                return True
            self._deferred = False
        return False

    def _redial(self, err: OSError) -> bool:
        self._failure = self._attempt.first.unreachable(err)
        self._dialogue = None
        return self._dial()

    def _expire(self) -> bool:
        timeout = self.deadline.over()
        if timeout is None:
            if not self._plan.should_abandon():
                self.deadline.look()
                return False
            timeout = ProxyTimeout("no answer, as to others")
        if self._waiting is not None:
            return self._named()
        deferred = self._deferred
        if self._dialogue is not None and not self._is_unconnected():
            if deferred:
                # It was connected meanwhile, which nothing has told.
                self._wait()
                return False
            self._dialogue.throw(timeout)
            raise AssertionError("no dialogue survives a timeout")
        self._dialogue = None
        self._failure = self._attempt.first.unreachable(OSError(timeout.errno, ""))
        # The kernel goes on trying on this one.
        self._use(clone_socket(self.sock, self.sock.family))
        return self._dial()

    def abandon(self) -> None:
        """Close what was opened here; the program's own socket is left as it is."""
        self._end_waiting()
        if self._underway:
            self._underway = False
            self._give_up()
        self._use(self._given)

    def _give_up(self) -> None:
        """Tell the plan which hop was silent when the program gave up.

        Otherwise a program whose own patience is shorter than our limits would never get past a silent hop.
        """
        if self.deadline.waited < _LONG:
            return
        error: SocksError = ProxyTimeout("given up by the program")
        if self._dialogue is not None and not self._is_unconnected():
            try:
                self._dialogue.throw(error)
            except SocksError as err:
                error = err
        else:
            error.hop = error.dead = self.path[0]
        self._plan.given_up(error)

    def _use(self, sock: _socket.socket) -> None:
        if self.sock is not self._given and self.sock is not sock:
            self.sock.close()
        self.sock = sock

    def _dial(self) -> bool:
        for address in self._addresses:
            try:
                sock, sockaddr = socket_for(self.sock, address)
                self._use(sock)
                self.deadline.connecting(self._attempt.connect_limit)
                self._deferred = self._attempt.early and _defer(sock)
                _connect(sock, sockaddr)
            except BlockingIOError:
                self.wants = POLLOUT
                return False
            except OSError as err:
                self._failure = self._attempt.first.unreachable(err)
            else:
                return self._connected()
        if self._failure is None:
            raise AssertionError("getaddrinfo() never returns an empty list")
        raise self._failure

    def _connected(self) -> bool:
        self._dialogue = self._attempt.talk()
        try:
            self._take(next(self._dialogue))
        except StopIteration as end:
            # Raw hops alone: there is nothing to say.
            self.bound = end.value
            return True
        return self._converse()

    def _take(self, step: Send | Recv) -> None:
        self._step = step
        self._buffer = bytearray(step if isinstance(step, Send) else b"")
        if not self._deferred:
            self._wait()

    def _wait(self) -> None:
        self.deadline.waiting(self._plan.waits_for_destination, self._attempt.reply_limit)
        if self._attempt.watched and not isinstance(self._step, Send):
            self.deadline.look()

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
                    if err.errno != errno.ECONNRESET and self._is_unconnected():
                        return self._redial(err)
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
        # Not by the mode of the file alone: that is the program's too, and a signal handler or another thread
        # of it may call setblocking(True) meanwhile.
        step, buffer = self._step, self._buffer
        if isinstance(step, Send):
            self.wants = POLLOUT
            while buffer:
                del buffer[: self.sock.send(buffer, MSG_DONTWAIT)]
            return b""
        self.wants = POLLIN
        while len(buffer) < step:
            chunk = self.sock.recv(step - len(buffer), MSG_DONTWAIT)
            if not chunk:
                raise ProxyClosed(f"the proxy hung up after {len(buffer)} of {counted(step, 'byte')}")
            self._deferred = False
            buffer += chunk
        return bytes(buffer)


def _defer(sock: _socket.socket) -> bool:
    """Have connect() return at once and the SYN wait for the first bytes; tell whether the kernel knows how.

    It does so only where it has a cookie of the server's. Otherwise it asks for one, in an ordinary SYN.
    """
    try:
        sock.setsockopt(IPPROTO_TCP, _TCP_FASTOPEN_CONNECT, 1)
    except OSError:
        return False
    return True


def _connect(sock: _socket.socket, sockaddr: tuple[Any, ...]) -> None:
    try:
        sock.connect(sockaddr)
    except ConnectionAbortedError:
        # Linux tells so of the attempt before this one, when that failed.
        sock.connect(sockaddr)


def wait_for(attempt: Waited, poll: Callable[[], Any]) -> _socket.socket:
    """Open a tunnel in the calling thread; return the connected socket, in non-blocking mode.

    Raises:
        SocksError: a proxy is not reachable, or refuses.
        TimeoutError: the program's own timeout ended.
    """
    try:
        done = attempt.start()
        poller = poll()
        while not done:
            fd = attempt.sock.fileno()
            poller.register(fd, attempt.wants)
            # One millisecond more than a truncation: a poll that ends early would only spin.
            ready = poller.poll(int(attempt.deadline.remaining() * 1000) + 1)
            # The next step may be about another socket.
            poller.unregister(fd)
            done = attempt.advance() if ready else attempt.expire()
    except BaseException:
        attempt.abandon()
        raise
    return attempt.sock


def _broken(err: OSError) -> ProxyClosed:
    return ProxyClosed(f"the connection to the proxy broke: {err.strerror}", errno.ECONNRESET)
