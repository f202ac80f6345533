"""A socket that listens at the last proxy (BIND): the program's descriptor is the connection to the proxy.

1. listen() puts a placeholder on the program's descriptor (``tcp.placeholder_socket``), and the background
   thread asks the proxy to listen (``request``). On a socket that may block, listen() waits for the reply.
2. The first reply makes the placeholder readable. The program's next call of accept(), listen() or
   getsockname() puts the control connection on the descriptor. The background thread does not: a thread of
   the program that sleeps in poll(2) on the one file would not be woken by what arrives on the other.
3. The second reply makes the control connection readable, as a peer makes a listening socket readable. The
   program calls accept(), which reads the reply (``accepting``), and returns the connection under a new
   descriptor. The program's own gets a placeholder again, which is readable: a program that goes on listening
   calls accept() again, at which the proxy is asked once more. For a program that closes the socket after one
   peer, as for an FTP transfer, the proxy is not asked a second time; nor for an event loop that calls
   accept() until EAGAIN, before it polls.
4. An error is reported by the next accept(), by SO_ERROR, or by a listen() that waits. Then nothing is
   readable, and another accept() or listen() asks the proxy again.
5. When the proxy ends a port without a peer, it is asked for another (``failures``). A program that polls is
   woken for an error once.

``states`` has the states of a listener. getsockname() waits for the first reply, since there is no other
answer. After accept() it returns the latest port, until the proxy listens at the next.

An epoll object that C code made sees the first peer only. Processes cannot share a port after fork(), since
it is one connection.
"""

from __future__ import annotations

import _socket
import errno
import os

from pywrap.errors import ProtocolError, SocksError, to_oserror
from pywrap.intercept import originals
from pywrap.intercept.bind import states
from pywrap.intercept.bind.accepting import Accepting
from pywrap.intercept.bind.failures import Failures
from pywrap.intercept.bind.listener_descriptors import Descriptors, read_now
from pywrap.intercept.bind.request import BindRequest
from pywrap.intercept.own_socket import Own
from pywrap.intercept.socket_inodes import inode, is_open
from pywrap.intercept.tcp.unconnected import unconnected
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.first_hop import clone_socket
from pywrap.tunnel.routes import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.bind.accepting import Accepted
    from pywrap.intercept.runtime import Runtime
    from pywrap.tunnel.attempt import TunnelAttempt
    from pywrap.tunnel.binding import Binding


class Listener:
    """The listener of one open file, for the patches (``registry.Listener``).

    Everything here is done under the registry's lock, except for waiting.
    """

    def __init__(self, runtime: Runtime, sock: _socket.socket) -> None:
        fd = originals.fileno(sock)
        self._runtime = runtime
        self._state = states.IDLE
        self._family = originals.family_type_proto(sock)[0]
        self._is_ipv6 = self._family == _socket.AF_INET6
        self._descriptors = Descriptors(fd, runtime.registry, self)
        self._accepting = Accepting(self, lambda: runtime.registry.lock)
        self._failures = Failures()
        # While the program has a placeholder: the socket for the connection to the proxy, with the program's
        # options.
        self._real: Own | None = None
        self._request: BindRequest | None = None
        # The BIND that was answered last.
        self._binding: Binding | None = None
        # The connection to the proxy, when ANSWERED.
        self._control: _socket.socket | None = None
        # The peer, when ARRIVED.
        self._peer = Endpoint("", 0)
        # The result of getsockname(), once the proxy has listened.
        self._name: tuple[Any, ...] | None = None
        # Calls of accept() on a non-blocking socket since the last peer.
        self._idle_calls = 0
        self._put_placeholder(fd)

    @property
    def number(self) -> int:
        """The inode of the file on the program's descriptors."""
        return self._descriptors.number

    @property
    def fds(self) -> set[int]:
        """The program's descriptors of the listener in this process."""
        return self._descriptors.fds

    @property
    def state(self) -> str:
        """One of ``states.STATES``."""
        return self._state

    @property
    def asking(self) -> bool:
        """Whether the proxy has been asked for a port and has not answered."""
        return self._state == states.ASKING

    # ------------------------------------------------------------ what the program calls

    def begin(self, sock: _socket.socket) -> None:
        """Do what listen() does; where ``sock`` may block, wait for the proxy's reply.

        Raises:
            OSError: the proxy does not listen.
        """
        with self._runtime.registry.lock:
            self._check_open()
            self._state = states.LISTEN[self._state]
            try:
                self._ask(originals.fileno(sock))
            except BaseException:
                self._withdraw(sock)
                raise
        if originals.gettimeout(sock) != 0:
            # The limits of the settings end the wait.
            self.wait_for_reply(None)
            with self._runtime.registry.lock:
                if self._failures.error is not None:
                    self._withdraw(sock)
                self._raise_error(originals.fileno(sock))
                self._place()

    def accept(self, sock: _socket.socket) -> Accepted:
        """A new descriptor, connected to the peer, and the peer's address; as socket._accept().

        Raises:
            OSError: the proxy does not listen, and will not; or the peer was rejected (ECONNABORTED).
            BlockingIOError, TimeoutError: no peer has connected, by the mode of ``sock``.
        """
        return self._accepting.accept(sock)

    def getsockname(self, fd: int) -> tuple[Any, ...]:
        """The address and port at the proxy, once they are known."""
        if self._name is None and self._failures.error is None and self._state == states.IDLE:
            # After a fork() in which the parent's request was not answered: the child asks for itself.
            with self._runtime.registry.lock:
                self._ask(fd)
        if self._name is None or self._failures.is_short:
            # After more failures it is not known when the proxy will listen again: then return without
            # waiting.
            self.wait_for_reply(None)
        with self._runtime.registry.lock:
            self._check_open()
            self._place()
            if self._name is not None:
                return self._name
            error = self._failures.error
            if error is not None:
                raise to_oserror(error) from error
            assert self._real is not None, "there has never been a port"
            # The program has called shutdown() before the proxy listened.
            return tuple(self._real.getsockname())

    def shutdown(self, sock: _socket.socket, how: int) -> None:
        """shutdown(2) of a listening socket: for receiving, it ends the listening until the next listen().

        Raises:
            OSError: ``how`` is not one of SHUT_RD, SHUT_WR, SHUT_RDWR (EINVAL), or the socket has been shut
                down before (ENOTCONN).
        """
        if how not in (_socket.SHUT_RD, _socket.SHUT_WR, _socket.SHUT_RDWR):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self._state == states.SHUT:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        if how == _socket.SHUT_WR:
            return
        self._place()
        if self._real is None:
            try:
                # Wakes up a thread that waits in accept(), which polls this connection.
                originals.shutdown(sock, _socket.SHUT_RDWR)
            except OSError:
                # The proxy has closed the connection.
                pass
            self._put_placeholder(originals.fileno(sock))
        elif self._state == states.ASKING:
            self._disown()
        self._state = states.SHUTDOWN[self._state]
        self._wake()

    def getsockopt(self, sock: _socket.socket, level: int, option: int, *buflen: int) -> Any:
        """An option of the socket that takes the place of the placeholder; SO_ERROR is ours."""
        if level == _socket.SOL_SOCKET and not buflen:
            if option == _socket.SO_ACCEPTCONN:
                return int(self._state != states.SHUT)
            if option == _socket.SO_ERROR and self._real is not None:
                error = self._take_error(originals.fileno(sock))
                return 0 if error is None else error.errno
        if self._real is not None:
            return self._real.getsockopt(level, option, *buflen)
        return originals.getsockopt(sock, level, option, *buflen)

    def setsockopt(self, sock: _socket.socket, *args: Any) -> None:
        """Set an option of the socket that takes the place of the placeholder."""
        if self._real is not None:
            return self._real.setsockopt(*args)
        return originals.setsockopt(sock, *args)

    # ------------------------------------------------------------ the life of the socket

    def let_go(self, fd: int) -> None:
        """The program closes ``fd``; with the last one the proxy stops listening."""
        self.fds.discard(fd)
        if not self.fds:
            if self._state in (states.ANSWERED, states.LISTENING, states.ARRIVED):
                self._hint_at_limit()
            self.drop()

    def drop(self) -> None:
        """End the listener: take it out of the registry's table, and close its sockets."""
        was_asking = self._state == states.ASKING
        self._state = states.DROP[self._state]
        self._runtime.registry.listening.pop(self.number, None)
        if was_asking:
            # The background thread closes what it has been given: it sees that the placeholder is closed.
            assert self._request is not None, "the proxy is being asked"
            self._request.disown()
            self._descriptors.far = self._real = None
            return
        self._descriptors.close()
        for sock in (self._control, self._real):
            if sock is not None:
                sock.close()
        self._control = self._real = None

    def forked(self) -> None:
        """In a child after fork(): an unanswered request is the parent's, so the child makes its own."""
        before = self._state
        self._state = states.FORK[self._state]
        self._request = None
        self._accepting.forked()
        if self._real is None:
            return
        if before in (states.ASKING, states.ANSWERED):
            self._name = None
            real, self._real = self._real, unconnected(self._real)
            for sock in (real, self._control):
                if sock is not None and sock is not self._real:
                    sock.close()
            self._control = None
        self._descriptors.put_placeholder()
        self._wake()

    def _withdraw(self, sock: _socket.socket) -> None:
        """After a failed listen(): put ``sock`` back as it was, unless the proxy has listened before."""
        if self._name is None and self._real is not None:
            self._real.setblocking(originals.gettimeout(sock) is None)
            self._descriptors.put_back(self._real)
            self.drop()

    def _check_open(self) -> None:
        if self._state == states.CLOSED:
            # Another thread, or a signal handler, has closed the socket.
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    # ------------------------------------------------------------ the peer, for ``accepting``

    def next_peer(self, fd: int, patient: bool) -> Accepted | None:
        """Accept the peer, if it has connected; otherwise take the next step towards one, and return None.

        ``patient``: whether the caller waits for the peer. If so, the proxy is asked to listen at once.

        Raises:
            OSError: as for ``accept``.
        """
        with self._runtime.registry.lock:
            if not is_open(fd, self.number):
                # Another thread has closed ``fd`` while this one waited.
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            if self._state == states.SHUT:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            self._raise_error(fd)
            self._place()
            if self._real is None:
                return self._receive(fd)
            self._idle_calls += 1
            if patient or self._idle_calls > 1:
                self._ask(fd)
            elif not self.asking:
                # Made readable once more, for an edge-triggered epoll.
                self._wake()
            return None

    def wait_for_reply(self, timeout: float | None) -> None:
        """Block until the proxy has answered, ``timeout`` seconds at most; None: without a limit."""
        request = self._request
        if request is not None:
            request.wait(timeout)

    def _receive(self, fd: int) -> Accepted | None:
        """Read the second reply from the control connection, which is at ``fd``; accept the peer it names."""
        assert self._binding is not None, "there is a control connection"
        if self._state == states.LISTENING:
            try:
                peer = self._binding.peer(lambda size: read_now(fd, size))
            except SocksError as err:
                self._put_placeholder(fd)
                self._state = states.LAPSE[self._state]
                self._follow_up(err)
                self._raise_error(fd)
                return None
            if peer is None:
                return None
            self._peer = peer
            self._state = states.ARRIVE[self._state]
        why = self._runtime.routes.why_no_peer(self._peer, self._binding.place)
        if why:
            self._reject(fd, why)
        return self._hand_out(fd)

    def _reject(self, fd: int, why: str) -> None:
        """Close the connection to a peer with an address that the program reaches directly.

        Raises:
            ConnectionAbortedError: as accept(2) for a peer that is gone; event loops call accept() again.
        """
        words = f"{self._peer} refused, as the peer that the proxy has accepted: {why}"
        self._put_placeholder(fd)
        self._state = states.REJECT[self._state]
        self._wake()
        self._idle_calls = 0
        self._runtime.messages.say(1, words)
        raise OSError(errno.ECONNABORTED, words)

    def _hand_out(self, fd: int) -> Accepted:
        """Return a new descriptor of ``fd``, the connection to the peer, and the peer's address."""
        runtime, peer = self._runtime, self._peer
        assert self._binding is not None, "the peer came by it"
        # Both calls may fail (EMFILE). A later accept() then returns the peer.
        new = os.dup(fd)
        try:
            self._put_placeholder(fd)
        except BaseException:
            os.close(new)
            raise
        self._state = states.ACCEPT[self._state]
        self._wake()
        # A blocking socket, whatever the mode of the listening one, as accept4(2) returns it.
        os.set_blocking(new, True)
        self._idle_calls = 0
        self._failures.forget()
        # Some proxies name the peer 0.0.0.0, which means this machine in connect(): so not that address.
        host = peer.host if any(address_of(peer.host) or b"\1") else runtime.names.unknown
        address = runtime.peer(peer, (host, peer.port), self._is_ipv6)
        runtime.registry.establish(inode(new), address, self._name)
        runtime.messages.accepted(peer, self._binding.path)
        return new, address

    def _hint_at_limit(self) -> None:
        """After a wait in vain: print that the proxy refuses all peers but one, if that may be the reason."""
        binding = self._binding
        if binding is not None and binding.only:
            self._runtime.messages.alone(binding.place, binding.only)

    # ------------------------------------------------------------ what the program holds

    def _put_placeholder(self, fd: int) -> None:
        """Put a placeholder on ``fd``; make ``_real``, an unconnected socket with the options of ``fd``.

        It is not bound to the address of ``fd``, which is an address to listen at, not one to reach the proxy
        from.
        """
        present = Own(self._family, _socket.SOCK_STREAM, 0, fileno=os.dup(fd))
        try:
            real = clone_socket(present, self._family)
        finally:
            present.close()
        try:
            self._descriptors.put_placeholder()
        except BaseException:
            real.close()
            raise
        self._real = real

    def _place(self) -> None:
        """Put the control connection in the place of the placeholder, if the proxy has answered."""
        if self._state != states.ANSWERED:
            return
        assert self._control is not None, "the proxy has answered on it"
        self._descriptors.put_connection(self._control)
        if self._state != states.ANSWERED:
            # A signal handler that interrupted this has done it.
            return
        self._state = states.PLACE[self._state]
        self._control.close()
        if self._real is not self._control and self._real is not None:
            self._real.close()
        self._control = self._real = None

    def _wake(self) -> None:
        """Make the placeholder readable."""
        if not self._descriptors.make_readable():
            self.drop()

    # ------------------------------------------------------------ asking the proxy

    def _ask(self, fd: int) -> None:
        """Ask the proxy to listen, unless it listens or has been asked."""
        if self._state == states.IDLE:
            self._descriptors.make_unreadable(fd)
            self._failures.error = None
            self._submit(0.0)

    def _submit(self, pause: float) -> None:
        """Have the background thread ask the proxy in ``pause`` seconds."""
        far = self._descriptors.far
        assert far is not None and self._real is not None, "there is a placeholder"
        self._real.setblocking(False)
        request = BindRequest(self._runtime, self._real, far, self._is_ipv6, pause, self._replied)
        if self._state != states.IDLE:
            # A signal handler has asked the proxy meanwhile, or has shut the listener down.
            return
        self._state = states.ASK[self._state]
        self._request, self._binding = request, request.binding
        try:
            request.submit()
        except BaseException:
            if self._state == states.ASKING:
                self._state = states.FAIL[self._state]
            raise

    def _disown(self) -> None:
        """Drop the request: the background thread closes its socket, and the far end of the placeholder."""
        assert self._real is not None and self._request is not None, "the proxy is being asked"
        real = clone_socket(self._real, self._family)
        self._descriptors.far = None
        self._descriptors.put_placeholder()
        self._real = real
        self._request.disown()

    def _replied(self, attempt: TunnelAttempt | None, error: SocksError | None) -> None:
        """Take the proxy's first reply, on the background thread: it listens, or ``error`` is the reason."""
        if error is None and attempt is not None:
            self._state = states.ANSWER[self._state]
            self._control = attempt.sock
            self._failures.stands()
            assert self._binding is not None, "it was asked for"
            place = self._binding.place
            self._name = self._runtime.peer(place, (place.host, place.port), self._is_ipv6)
        elif error is not None:
            self._state = states.FAIL[self._state]
            self._disconnect()
            self._failures.add(error, self._name is not None)
        if not self._descriptors.open():
            self.drop()
        elif error is None or self._name is None:
            self._wake()
        else:
            if self._failures.is_news:
                self._wake()
            self._submit(self._failures.pause)

    def _disconnect(self) -> None:
        """Replace ``_real`` by an unconnected socket with its options."""
        if self._real is not None:
            before, self._real = self._real, unconnected(self._real)
            if self._real is not before:
                before.close()

    def _follow_up(self, error: SocksError) -> None:
        """Ask for another port after one that has ended without a peer; at once if that one has lasted."""
        self._hint_at_limit()
        if isinstance(error, ProtocolError) or not self._failures.has_lasted():
            self._runtime.messages.failed_listening(error)
            self._failures.add(error, self._name is not None)
            self._submit(self._failures.pause)
        else:
            self._runtime.messages.lapsed(error)
            self._failures.forget()
            self._submit(0.0)

    # ------------------------------------------------------------ errors

    def _take_error(self, fd: int) -> SocksError | None:
        """The error that the program has to get, returned once; None without one."""
        error = self._failures.take()
        if error is not None and self._real is not None:
            self._descriptors.make_unreadable(fd)
        return error

    def _raise_error(self, fd: int) -> None:
        error = self._take_error(fd)
        if error is not None:
            raise to_oserror(error) from error
