"""A tunnel that is being opened on a non-blocking socket: a state machine that never waits itself.

The caller waits: ``wait_for`` in the calling thread, for sockets that may block; ``background`` for any
number of them, in a thread of its own.
"""

from __future__ import annotations

import errno
from _socket import IPPROTO_TCP, MSG_DONTWAIT, SHUT_RDWR, SO_ERROR, SOL_SOCKET

from pywrap.errors import UNHEARD, Failure, ProtocolError, ProxyClosed, ProxyTimeout, SocksError, counted
from pywrap.socks.wire import Aside, Endpoint, Pending, Send
from pywrap.tunnel.first_hop import clone_socket, is_lost, socket_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterator
    from typing import Any, Protocol

    from pywrap.config.settings import Proxy
    from pywrap.log.handshake_times import HandshakeTimes
    from pywrap.socks.wire import Dialogue, Recv
    from pywrap.tunnel.deadline import Deadline
    from pywrap.tunnel.first_hop import ProxyAddress
    from pywrap.tunnel.retry_policy import RetryPolicy
    from pywrap.tunnel.strict_policy import Attempt, SingleAttempt

    class Waited(Protocol):
        """What ``wait_for`` and ``background`` run. ``TunnelAttempt`` is one, and explains the methods."""

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
        """The deadline of a ``Waited``: ``deadline.Deadline``, or none that ever comes."""

        @property
        def moment(self) -> float: ...
        def remaining(self) -> float: ...


# Seconds of silence after which a hop is reported as silent when the program gives up. A program that gives
# up earlier may not need the connection any more.
_LONG = 2.0

# The present step of an attempt that has not begun.
_NOTHING = Send()
_NOWHERE = Endpoint("", 0)
_NO_ADDRESSES: Iterator[ProxyAddress] = iter(())

# tcp(7), Linux 4.11; the socket module has no name for it.
_TCP_FASTOPEN_CONNECT = 30

# As in poll(2) and epoll(7), which agree on them.
POLLIN = 1
POLLOUT = 4


class TunnelAttempt:
    """From the first hop's addresses to the end of a dialogue: for a tunnel, a UDP association, a BIND.

    When an attempt fails, ``policy`` may have another. ``path``: the hops of the present attempt. ``bound``:
    the address that its dialogue returned. ``deadline``: the time limits of all attempts together.

    ``sock`` is the connection: the program's own socket, or a replacement where that cannot reach the first
    hop (another family), or was used by an attempt that failed. ``wants``, POLLIN or POLLOUT, is what to wait
    for on it before ``advance``. ``times``: takes the times of the hops, for a log; None without one.

    ``aside(step, sock)`` takes the steps of a dialogue that are neither sending nor receiving, and returns
    the socket to go on with, as ``relay.securing`` does it for TLS; or raises ``Pending``. Without it, hops
    that need such steps cannot be used.
    """

    __slots__ = (
        "_addresses",
        "_ahead",
        "_aside",
        "_attempt",
        "_deferred",
        "_dialogue",
        "_failure",
        "_given",
        "_got",
        "_is_begun",
        "_policy",
        "_step",
        "_underway",
        "_used_up",
        "_waiting",
        "bound",
        "deadline",
        "sock",
        "times",
        "wants",
    )

    def __init__(
        self,
        sock: _socket.socket,
        policy: RetryPolicy | SingleAttempt,
        deadline: Deadline,
        aside: Callable[[Aside, _socket.socket], _socket.socket] | None = None,
    ) -> None:
        self.sock = sock
        self._aside = aside
        self.wants = POLLOUT
        self.deadline = deadline
        self._given = sock
        # The connection's socket, while ``sock`` is the one that becomes readable when a look-up or an
        # ``Aside`` ends.
        self._waiting: _socket.socket | None = None
        self._policy = policy
        self._attempt: Attempt = policy.start()
        self.bound = _NOWHERE
        self._addresses: Iterator[ProxyAddress] = _NO_ADDRESSES
        self._failure: SocksError | None = None
        self._underway = False
        # With TCP Fast Open the dialogue begins before the first hop has answered.
        self._deferred = False
        self._dialogue: Dialogue[Endpoint] | None = None
        # The present step, what has been received for it, and whether the deadline has been told of it.
        self._step: Send | Recv = _NOTHING
        self._got = b""
        self._is_begun = False
        # Bytes that ``intercept.tcp.straight`` received before this object took over.
        self._ahead = b""
        # A replaced socket that the caller may have registered: it is closed with the next step.
        self._used_up: _socket.socket | None = None
        self.times: HandshakeTimes | None = None

    # ``intercept.tcp.straight`` sets it on the attempts that it begins.
    duplicate = None

    @property
    def dialled(self) -> bool:
        """Whether the first hop is connected."""
        return self._dialogue is not None

    @property
    def is_ready(self) -> bool:
        """Whether the first hop's addresses are known, so that ``start`` sends a SYN at once."""
        return self._attempt.first.is_fresh

    @property
    def path(self) -> tuple[Proxy, ...]:
        """The hops of the present attempt."""
        return self._attempt.path

    def start(self) -> bool:
        """Begin. Returns and raises what ``advance`` does."""
        self._underway = True
        try:
            return self._set_out() and self._stands()
        except SocksError as err:
            return self._try_others(err)

    def take_over(self, said: int, heard: bytes) -> None:
        """In the place of ``start``: go on with a dialogue that other code began on ``sock``.

        That code has called connect() for the first hop, sent the first ``said`` bytes of the dialogue, and
        received ``heard``. The caller calls ``advance`` or ``fail`` next.
        """
        self._underway = True
        if not said:
            return
        self._dialogue = self._attempt.talk()
        self._take(next(self._dialogue))
        while True:
            step = self._step
            if isinstance(step, Send):
                if said < len(step):
                    self._step = Send(step[said:])
                    break
                said -= len(step)
                answer = b""
            elif said:
                answer, heard = heard[:step], heard[step:]
            else:
                break
            self._take(self._dialogue.send(answer))
        self._ahead = heard
        # The time limit of the present step is running already.
        self._is_begun = True

    def fail(self, err: OSError) -> bool:
        """Go on after the connection of ``sock`` has ended with ``err``; otherwise as ``advance``."""
        try:
            if self._dialogue is None:
                return self._redial(err) and self._stands()
            self._take(self._dialogue.throw(_broken(err)))
            raise AssertionError("no dialogue survives an error")
        except SocksError as error:
            return self._try_others(error)

    def advance(self) -> bool:
        """Go as far as possible without waiting; return whether the tunnel is open.

        Raises:
            SocksError: it cannot be opened.
        """
        self._check()
        try:
            done = self._converse() if self._dialogue is not None else self._approach()
        except SocksError as err:
            return self._try_others(err)
        return done and self._stands()

    def expire(self) -> bool:
        """The deadline's moment has passed: go on with the next address or another attempt, or give up.

        Raises:
            TimeoutError: the timeout of the program's socket ended.
            SocksError: a timeout of the settings ended.
        """
        self._check()
        try:
            return self._expire() and self._stands()
        except SocksError as err:
            return self._try_others(err)

    def _check(self) -> None:
        """Before a step after a wait: raise if the program has closed the descriptor meanwhile."""
        if self._used_up is not None:
            self._close_used_up()
        if is_lost(self.sock) or (self.sock is not self._given and is_lost(self._given)):
            # No hop has failed, so none is blamed. The number may be another file of the program's by now.
            self._underway = False
            raise SocksError("abandoned: the program has closed its descriptor", errno.ECONNABORTED)

    def _stands(self) -> bool:
        self._underway = False
        self._policy.succeeded()
        return True

    def _try_others(self, err: SocksError) -> bool:
        """The present attempt has failed: begin others as long as there are any."""
        while True:
            error = self._with_failure(err)
            other = self._policy.next_after(error)
            if other is None or self.deadline.ended:
                self._underway = False
                error = self._policy.error_to_report(error)
                try:
                    raise error from error.__cause__
                finally:
                    # The traceback has this frame: the exception would be held by itself, and all that is in
                    # the frames that it passes, the program's socket among that.
                    del error, err
            self._attempt = other
            try:
                return self._set_out() and self._stands()
            except SocksError as next_err:
                err = next_err

    def _with_failure(self, error: SocksError) -> SocksError:
        """``error``; one that comes from before the dialogue gets the first hop as the one to blame."""
        if error.failure.hop is not None:
            return error
        first, count = self.path[0], len(self.path)
        words = f"hop 1 of {count}: {error}" if count > 1 else str(error)
        return error.copy(words, stage=UNHEARD, failure=Failure(first, first))

    def _set_out(self) -> bool:
        if self._dialogue is not None:
            self._dialogue = None
            fresh = clone_socket(self._given, self._given.family)
            if self.sock is self._given:
                self._hang_up()
            self._use(fresh)
        self._failure = None
        if self.times is not None:
            self.times.begin(self._attempt.path)
        self.deadline.share(self._attempt.part, self._attempt.seconds)
        first = self._attempt.first
        if first.is_fresh:
            self._addresses = iter(first.addresses())
            return self._dial()
        # A resolver may take long: so wait for the end of the look-up, on a descriptor that tells it.
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
            self._retire(self.sock)
            self.sock, self._waiting = self._waiting, None

    def _hang_up(self) -> None:
        """End a dialogue on the program's own socket, which is not ours to close."""
        try:
            self.sock.shutdown(SHUT_RDWR)
        except OSError:
            # The other end has closed the connection already.
            pass

    def _approach(self) -> bool:
        """The first hop's name has been looked up, or the connection to it has been made, or has failed."""
        if self._waiting is not None:
            return self._named()
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
            if not self._policy.should_abandon():
                self.deadline.look()
                return False
            timeout = ProxyTimeout("no answer, as to others")
        if self._waiting is not None:
            if self._dialogue is None:
                return self._named()
            self._end_waiting()
        deferred = self._deferred
        if self._dialogue is not None and not self._is_unconnected():
            if deferred:
                # The socket has been connected meanwhile, without an event.
                self._is_begun = False
                return self._wait()
            self._dialogue.throw(timeout)
            raise AssertionError("no dialogue survives a timeout")
        self._dialogue = None
        self._failure = self._attempt.first.unreachable(OSError(timeout.errno, ""))
        # The kernel goes on trying to connect the present socket, so the next address needs another one.
        self._use(clone_socket(self.sock, self.sock.family))
        return self._dial()

    def abandon(self) -> None:
        """Close what was opened here; the program's own socket is left as it is."""
        self._end_waiting()
        if self._underway:
            self._underway = False
            self._give_up()
        self._use(self._given)
        self._close_used_up()

    def _give_up(self) -> None:
        """Report the hop that kept the program waiting until it gave up.

        Otherwise a program whose own timeouts are shorter than our limits would never get past a silent hop.
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
            error = error.copy(failure=Failure(self.path[0], self.path[0]))
        self._policy.given_up(error)

    def _use(self, sock: _socket.socket) -> None:
        before, self.sock = self.sock, sock
        if before is not self._given and before is not sock:
            self._retire(before)

    def _retire(self, sock: _socket.socket) -> None:
        # Of several sockets that one step replaces, the caller can have registered only the first.
        if self._used_up is None:
            self._used_up = sock
        else:
            sock.close()

    def _close_used_up(self) -> None:
        if self._used_up is not None:
            self._used_up.close()
            self._used_up = None

    def _dial(self) -> bool:
        for address in self._addresses:
            try:
                sock, sockaddr = socket_for(self.sock, address)
                self._use(sock)
                self.deadline.connecting(self._attempt.connect_limit)
                self._deferred = self._attempt.early and not self.path[0].is_secured and _defer(sock)
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
        try:
            raise self._failure
        finally:
            # The traceback has this frame, and so this object.
            self._failure = None

    def _connected(self) -> bool:
        self._dialogue = self._attempt.talk()
        try:
            self._take(next(self._dialogue))
        except StopIteration as end:
            # A chain of raw hops has no dialogue: there is nothing to send.
            self.bound = end.value
            return True
        return self._converse()

    def _take(self, step: Send | Recv) -> None:
        self._step = step
        self._got = b""
        self._is_begun = False
        if self.times is not None and not isinstance(step, Send):
            self.times.expect(self._policy.asked, step.phase)

    def _wait(self) -> bool:
        """Have the caller wait for the present step; return False, as ``advance`` does then."""
        if not self._is_begun and not self._deferred:
            self._is_begun = True
            self.deadline.waiting(self._policy.waits_for_destination, self._attempt.reply_limit)
            if self._attempt.watched and not isinstance(self._step, Send):
                self.deadline.look()
        return False

    def _converse(self) -> bool:
        """Do what the dialogue asks for, until it ends or the socket makes us wait."""
        assert self._dialogue is not None
        resume = self._dialogue.send
        try:
            while True:
                try:
                    answer = self._perform()
                except BlockingIOError:
                    return self._wait()
                except OSError as err:
                    if err.errno != errno.ECONNRESET and self._is_unconnected():
                        return self._redial(err)
                    self._take(self._dialogue.throw(self._secured_failure or _broken(err)))
                except SocksError as err:
                    # The dialogue knows which hop the error is of.
                    self._take(self._dialogue.throw(err))
                else:
                    step = resume(answer)
                    self._take(step)
                    if not answer and not isinstance(step, (Send, Aside)):
                        # A message was sent. Its answer takes a round trip, so recv() now would be in vain.
                        self.wants = POLLIN
                        return self._wait()
        except StopIteration as end:
            self.bound = end.value
            return True

    def _perform(self) -> bytes:
        """Do the present step, completely; return the answer to the dialogue.

        Raises:
            BlockingIOError: the step is not complete; the caller has to wait for ``wants``.
        """
        # MSG_DONTWAIT: a signal handler or another thread of the program may have called setblocking(True).
        step = self._step
        if isinstance(step, Send):
            self.wants = POLLOUT
            sent = self.sock.send(step, MSG_DONTWAIT)
            while sent < len(step):
                self._step = step = Send(step[sent:])
                sent = self.sock.send(step, MSG_DONTWAIT)
            return b""
        if isinstance(step, Aside):
            self._step_aside(step)
            return b""
        self.wants = POLLIN
        while True:
            size = step - len(self._got)
            if self._ahead:
                chunk, self._ahead = self._ahead[:size], self._ahead[size:]
            else:
                chunk = self.sock.recv(size, MSG_DONTWAIT)
            if not chunk and self._secured_failure is not None:
                raise self._secured_failure
            if not chunk:
                raise ProxyClosed(f"the proxy hung up after {len(self._got)} of {counted(step, 'byte')}")
            self._deferred = False
            self._got += chunk
            if len(self._got) == step:
                return self._got

    @property
    def _secured_failure(self) -> ProtocolError | None:
        """The error that broke the TLS of the connection; None without one."""
        failure = getattr(self.sock, "failure", "")
        return ProtocolError(failure) if failure else None

    def _step_aside(self, step: Aside) -> None:
        if self._aside is None:
            raise SocksError("it needs a relay in between: --confine on", errno.EOPNOTSUPP)
        self._end_waiting()
        try:
            sock = self._aside(step, self.sock)
        except Pending as pending:
            self._waiting, self.sock = self.sock, pending.sock
            self.wants = POLLIN
            raise BlockingIOError from None
        if sock is not self.sock:
            if self.sock is self._given:
                # The program's socket is wrapped now. Another attempt needs a socket like it.
                self._given = clone_socket(self.sock, self.sock.family)
            self.sock = sock


def _defer(sock: _socket.socket) -> bool:
    """Turn on TCP Fast Open (RFC 7413): connect() returns at once, and the SYN waits for the first bytes.

    False on kernels without TCP_FASTOPEN_CONNECT. Without a cookie of the server, the kernel sends an
    ordinary SYN that asks for one.
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
        # Linux reports the failure of an earlier connect() of this socket here. The next call connects.
        sock.connect(sockaddr)


def close(attempt: Waited) -> None:
    """Give ``attempt`` up, and close the socket that it was given, which no program has."""
    attempt.abandon()
    # abandon() does not close it, since it may be a program's.
    attempt.sock.close()


def wait_for(attempt: Waited, poll: Callable[[], Any]) -> _socket.socket:
    """Open a tunnel in the calling thread; return the connected socket, in non-blocking mode.

    ``poll``: ``select.poll`` of the unpatched interpreter.

    Raises:
        SocksError: a proxy is not reachable, or refuses.
        TimeoutError: the program's own timeout ended.
    """
    try:
        done = attempt.start()
        poller = poll()
        registered, wants = -1, 0
        while not done:
            fd = attempt.sock.fileno()
            if fd < 0:
                # A signal handler has closed the socket, at which ``advance`` raises.
                done = attempt.advance()
                continue
            if fd != registered and registered >= 0:
                poller.unregister(registered)
            if fd != registered or attempt.wants != wants:
                registered, wants = fd, attempt.wants
                # For a descriptor that is registered, this changes the events.
                poller.register(fd, wants)
            # One millisecond more than a truncation: a poll that ends early would only spin.
            ready = poller.poll(int(attempt.deadline.remaining() * 1000) + 1)
            done = attempt.advance() if ready else attempt.expire()
    except BaseException:
        attempt.abandon()
        raise
    return attempt.sock


def _broken(err: OSError) -> ProxyClosed:
    return ProxyClosed(f"the connection to the proxy broke: {err.strerror}", errno.ECONNRESET)
