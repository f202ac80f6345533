"""A socket that listens at the last proxy (BIND): what the program holds is the connection to the proxy.

1. listen() puts a placeholder on the program's descriptor (``tcp.placeholder_socket``), and the background
   thread asks the proxy for a port (``request``). On a socket that may block, listen() waits for the port.
2. The first reply makes the placeholder readable. The program's next call of accept(), listen() or
   getsockname() puts the control connection on the descriptor. The background thread does not: a thread of
   the program that sleeps in poll(2) on the one file would not be woken by what arrives on the other.
3. The second reply makes that readable, as a peer makes a listening socket. accept() (``accepting``) reads
   it, and returns the connection under a new descriptor. On the program's is a placeholder again, which is
   readable: a program that goes on listening calls accept() again, and that asks for the next port. A program
   that closes the socket after one peer, as for an FTP transfer, has no second port opened for it. Nor has an
   event loop, which calls accept() until EAGAIN, before it polls.
4. An error is reported by the next accept(), by SO_ERROR, or by a listen() that waits. Then nothing is
   readable, and accept() or listen() may ask once more.
5. A port that ends without a peer is followed by another (``failures``). A program that polls is woken for an
   error once.

``states`` has the states that it goes through. getsockname() waits for the first reply, since there is no
other answer. After accept() it returns the port that was, until there is the next.

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
        # Behind a placeholder, the socket on which the proxy is asked. It has the program's options.
        self._real: Own | None = None
        self._request: BindRequest | None = None
        # Of the request that was answered last.
        self._binding: Binding | None = None
        # The connection to the proxy, when ANSWERED.
        self._control: _socket.socket | None = None
        # The peer, when ARRIVED.
        self._peer = Endpoint("", 0)
        # What getsockname() returns, once there has been a port.
        self._name: tuple[Any, ...] | None = None
        # Calls of accept() on a non-blocking socket since the last peer.
        self._idle_calls = 0
        self._put_placeholder(fd)

    @property
    def number(self) -> int:
        """The inode of what the program holds."""
        return self._descriptors.number

    @property
    def fds(self) -> set[int]:
        """The program's descriptors of it in this process."""
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
        """listen(): where ``sock`` may block, wait for the port.

        Raises:
            OSError: there will be none.
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
            # With no other limit than the settings' own.
            self.wait_for_reply(None)
            with self._runtime.registry.lock:
                if self._failures.error is not None:
                    self._withdraw(sock)
                self._raise_error(originals.fileno(sock))
                self._place()

    def accept(self, sock: _socket.socket) -> Accepted:
        """A new descriptor, connected to the peer, and the peer's address; as socket._accept().

        Raises:
            OSError: there is no port, or will be none; or the peer was rejected (ECONNABORTED).
            BlockingIOError, TimeoutError: no peer has connected, by the mode of ``sock``.
        """
        return self._accepting.accept(sock)

    def getsockname(self, fd: int) -> tuple[Any, ...]:
        """The address and port at the proxy, once they are known."""
        if self._name is None and self._failures.error is None and self._state == states.IDLE:
            # After a fork(): the parent's port is not the child's.
            with self._runtime.registry.lock:
                self._ask(fd)
        if self._name is None or self._failures.is_short:
            # Otherwise it is not known when there will be a port.
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
            # Shut down before there was one.
            return tuple(self._real.getsockname())

    def shutdown(self, sock: _socket.socket, how: int) -> None:
        """As of a listening socket: for receiving, it ends the listening until listen() is called again.

        Raises:
            OSError: ``how`` is none of the three (EINVAL), or it has been shut down (ENOTCONN).
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
                # A thread that waits in accept() polls this one.
                originals.shutdown(sock, _socket.SHUT_RDWR)
            except OSError:
                # The proxy has hung up.
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
        """Take it out of the table, and close what is ours."""
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
        """In a child after fork(): the parent's thread goes on asking, so the child asks for itself."""
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
        """listen() has failed: have the program's descriptors as before it, unless there has been a port."""
        if self._name is None and self._real is not None:
            self._real.setblocking(originals.gettimeout(sock) is None)
            self._descriptors.put_back(self._real)
            self.drop()

    def _check_open(self) -> None:
        if self._state == states.CLOSED:
            # By another thread, or by a signal handler.
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    # ------------------------------------------------------------ the peer, for ``accepting``

    def next_peer(self, fd: int, patient: bool) -> Accepted | None:
        """Accept the peer, if it has connected; otherwise go on towards one, and return None.

        ``patient``: the caller waits for the peer, so that a port is to be asked for at once.

        Raises:
            OSError: as for ``accept``.
        """
        with self._runtime.registry.lock:
            if not is_open(fd, self.number):
                # Another thread has closed it, while this one waited.
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
                # Once more, for an epoll with edges.
                self._wake()
            return None

    def wait_for_reply(self, timeout: float | None) -> None:
        """Block until nothing is asked any more, ``timeout`` seconds at most; None: without a limit."""
        request = self._request
        if request is not None:
            request.wait(timeout)

    def _receive(self, fd: int) -> Accepted | None:
        """Read from the control connection, which is at ``fd``."""
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
        """Hang up on the peer: accept() would return an address that the program reaches directly.

        Raises:
            ConnectionAbortedError: as of the kernel's for a peer that is gone; loops call accept() again.
        """
        words = f"{self._peer} refused, as the peer that the proxy has accepted: {why}"
        self._put_placeholder(fd)
        self._state = states.REJECT[self._state]
        self._wake()
        self._idle_calls = 0
        self._runtime.messages.say(1, words)
        raise OSError(errno.ECONNABORTED, words)

    def _hand_out(self, fd: int) -> Accepted:
        """``fd`` is the connection to the peer: return a descriptor of its own, and the peer's address."""
        runtime, peer = self._runtime, self._peer
        assert self._binding is not None, "the peer came by it"
        # Both may fail (EMFILE). The peer is handed out by a later call then.
        new = os.dup(fd)
        try:
            self._put_placeholder(fd)
        except BaseException:
            os.close(new)
            raise
        self._state = states.ACCEPT[self._state]
        self._wake()
        # Whatever the mode of the listening socket: as from accept4(2).
        os.set_blocking(new, True)
        self._idle_calls = 0
        self._failures.forget()
        # Some proxies do not say which host it is. To connect to 0.0.0.0 would reach this machine.
        host = peer.host if any(address_of(peer.host) or b"\1") else runtime.names.unknown
        address = runtime.peer(peer, (host, peer.port), self._is_ipv6)
        runtime.registry.establish(inode(new), address, self._name)
        runtime.messages.accepted(peer, self._binding.path)
        return new, address

    def _hint_at_limit(self) -> None:
        """No peer has connected: print that the proxy would have refused all but one, if that may be why."""
        binding = self._binding
        if binding is not None and binding.only:
            self._runtime.messages.alone(binding.place, binding.only)

    # ------------------------------------------------------------ what the program holds

    def _put_placeholder(self, fd: int) -> None:
        """In the place of ``fd``; behind it an unconnected socket with the options of ``fd``.

        That is not bound to the address of ``fd``, which is where to listen, and not the way to the proxy.
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
            # A signal handler has been here meanwhile.
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
        """Ask the proxy for a port, unless there is one, or it has been asked."""
        if self._state == states.IDLE:
            self._descriptors.make_unreadable(fd)
            self._failures.error = None
            self._submit(0.0)

    def _submit(self, pause: float) -> None:
        """Have the proxy asked in ``pause`` seconds."""
        far = self._descriptors.far
        assert far is not None and self._real is not None, "there is a placeholder"
        self._real.setblocking(False)
        request = BindRequest(self._runtime, self._real, far, self._is_ipv6, pause, self._replied)
        if self._state != states.IDLE:
            # A signal handler has asked meanwhile, or has shut it down.
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
        """Ask no longer: the background thread closes the placeholder's far end, and the socket behind it."""
        assert self._real is not None and self._request is not None, "the proxy is being asked"
        real = clone_socket(self._real, self._family)
        self._descriptors.far = None
        self._descriptors.put_placeholder()
        self._real = real
        self._request.disown()

    def _replied(self, attempt: TunnelAttempt | None, error: SocksError | None) -> None:
        """On the background thread: the proxy listens, or the reason why it does not."""
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
        """Behind the placeholder, an unconnected socket again."""
        if self._real is not None:
            before, self._real = self._real, unconnected(self._real)
            if self._real is not before:
                before.close()

    def _follow_up(self, error: SocksError) -> None:
        """The port has ended without a peer: ask for another, at once if it has lasted."""
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
        """The error that the program has to get, once."""
        error = self._failures.take()
        if error is not None and self._real is not None:
            self._descriptors.make_unreadable(fd)
        return error

    def _raise_error(self, fd: int) -> None:
        error = self._take_error(fd)
        if error is not None:
            raise to_oserror(error) from error
