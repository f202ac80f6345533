"""listen() at the last proxy (BIND): what the program listens on is the control connection.

1. listen() on a socket with any port and not on loopback: a placeholder (``placeholder``) takes the place of
   the program's socket, and the background thread asks the proxy for a port. A socket that may block waits.
2. The first reply is in: the placeholder becomes readable. The program's next call of accept(), listen() or
   getsockname() puts the control connection on the program's descriptor. Not the thread: whoever sleeps in
   poll(2) on the one file would not be woken up by what comes on the other.
3. The second reply makes that readable, as a peer does a listening socket. accept() reads it and returns the
   connection under another number. On the program's is a placeholder again, a readable one: who goes on
   listening calls accept() again, and that asks for the next port. Who has closed it by then, as for an FTP
   transfer, has no second port opened for him; nor an event loop, which tries until EAGAIN, before it polls.
4. What failed is told by the next accept(), by SO_ERROR, or by a listen() that waits; then nothing is
   readable, and accept() or listen() may ask once more.
5. A proxy listens for a minute or two, and may be started anew. Who listens here does so until he closes:
   when a port that stood ends before anybody came, another is asked for. Where that fails, again after a
   pause, and after ever longer ones. accept() tells of it when it is no short restart any more, and who polls
   is woken up for that once.

The program's socket object has methods in front of C's meanwhile (``derived_class``): send() and recv() would
reach the proxy, as one of the peers, and shutdown() would look like its end.

getsockname() waits for the first reply: there is no other answer. After accept() it tells the port that was,
until there is the next.

An epoll that was made by C code sees the first peer only, and processes cannot share a port after a fork():
it is one connection.
"""

from __future__ import annotations

import _socket
import errno
import os
from time import monotonic

from pywrap.errors import ProtocolError, SocksError, to_oserror
from pywrap.intercept import originals
from pywrap.intercept.derived_class import Classes
from pywrap.intercept.lock import Event, Lock
from pywrap.intercept.own import Own
from pywrap.intercept.sockets import inode, is_open
from pywrap.intercept.tcp.placeholder import placeholder, put
from pywrap.intercept.tcp.unconnected import unconnected
from pywrap.socks.wire import Endpoint, is_loopback
from pywrap.tunnel.attempt import POLLIN
from pywrap.tunnel.background import Task
from pywrap.tunnel.binding import Binding
from pywrap.tunnel.first_hop import clone_socket
from pywrap.tunnel.routes import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry
    from pywrap.intercept.runtime import Runtime
    from pywrap.tunnel.attempt import TunnelAttempt


_SENDING = ("send", "sendall", "sendmsg", "sendto")
_RECEIVING = ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into")

# Seconds. A port that ends sooner counts as one that was refused: the proxy would be asked without end.
_LASTING = 1.0
# The first pause before a proxy is asked again, each other twice the one before, and the longest.
_PAUSE = 0.25
_LONGEST_PAUSE = 60.0
# So many failures in a row are nobody's business: 1.75 s, in which most proxies have been started anew.
_FORGIVEN = 3


def functions(runtime: Runtime) -> dict[str, Callable[..., Any]]:
    """listen() under ``runtime``."""
    classes = Classes(runtime.registry.roots, lambda base: _methods(base, runtime.registry))

    def listen(self: _socket.socket, /, *backlog: Any) -> None:
        """listen([backlog]): here, on the last proxy (``listen bind``), or not for others (``block``)."""
        if runtime.settings.listen == "block" and not _is_local(self):
            why = f"{_name(self)} refused: listening for others than this machine is blocked (--listen)"
            runtime.messages.say(1, why)
            raise OSError(errno.EPERM, why)
        if runtime.settings.listen != "bind" or not _is_for_the_proxy(runtime, self):
            return originals.listen(self, *backlog)
        registry, fd = runtime.registry, originals.fileno(self)
        with registry.lock:
            listener = registry.listener_of(fd) or Listener(runtime, self)
            try:
                classes.put_on(self)
            except TypeError:
                # It goes without.
                pass
        try:
            listener.begin(self)
        finally:
            if registry.listener_of(fd) is None:
                # It is as before, and may be connected yet.
                classes.take_off(self)
        return None

    return {"listen": listen}


def _methods(base: Any, registry: SocketRegistry) -> dict[str, Any]:
    """What a socket that listens says in place of sending and receiving, and how it is shut down."""

    def refused(name: str, number: int) -> Callable[..., Any]:
        otherwise = getattr(base, name)

        def method(self: _socket.socket, *args: Any, **kwargs: Any) -> Any:
            if registry.listener_of(originals.fileno(self)) is None:
                return otherwise(self, *args, **kwargs)
            raise OSError(number, os.strerror(number))

        method.__name__ = name
        method.__doc__ = otherwise.__doc__
        return method

    def shutdown(self: _socket.socket, how: int, /) -> None:
        """shutdown(flag)."""
        with registry.lock:
            listener = registry.listener_of(originals.fileno(self))
            if listener is None:
                base.shutdown(self, how)
            else:
                listener.shutdown(self, how)

    sending = {name: refused(name, errno.EPIPE) for name in _SENDING}
    receiving = {name: refused(name, errno.ENOTCONN) for name in _RECEIVING}
    return {**sending, **receiving, "shutdown": shutdown}


def _is_for_the_proxy(runtime: Runtime, sock: _socket.socket) -> bool:
    """Does it listen on a port that is the system's to choose, and for others than this machine?"""
    _, kind, proto = originals.family_type_proto(sock)
    if kind != _socket.SOCK_STREAM or proto not in originals.TCP:
        return False
    registry, fd = runtime.registry, originals.fileno(sock)
    if registry.listener_of(fd) is not None:
        return True
    number = inode(fd)
    if number in registry.established or registry.pending_of(fd) is not None:
        # Connected, so that the kernel has the right errno for it.
        return False
    if originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_ACCEPTCONN):
        return False
    port = originals.getsockname(sock)[1]
    return not _is_local(sock) and (port == 0 or number in registry.any_port)


def _is_local(sock: _socket.socket) -> bool:
    """Can only this machine connect to it?"""
    address = address_of(originals.getsockname(sock)[0]) or b""
    return is_loopback(address)


def _name(sock: _socket.socket) -> Endpoint:
    host, port = originals.getsockname(sock)[:2]
    return Endpoint(host, port)


class Listener:
    """A socket that listens at a proxy.

    ``fds``: the program's descriptors of it (dup() adds to them). ``number``: the inode of what they are,
    a placeholder, with its other end in ``_far``, or the control connection. ``real``: behind a placeholder,
    the socket that asks the proxy, for options meanwhile. ``asking``: until the first reply. Everything here
    is done under ``registry.lock``, except for waiting.
    """

    def __init__(self, runtime: Runtime, sock: _socket.socket) -> None:
        fd = originals.fileno(sock)
        self.fds = {fd}
        self.number = inode(fd)
        self.real: _socket.socket | None = None
        self._runtime = runtime
        self._family = originals.family_type_proto(sock)[0]
        self._name: tuple[Any, ...] | None = None
        self._far: _socket.socket | None = None
        self._binding: Binding | None = None
        # The first reply is in, and the placeholder still in place.
        self._control: _socket.socket | None = None
        # Who came, while there was no descriptor left for him (EMFILE).
        self._came: Endpoint | None = None
        self.asking = False
        self._error: SocksError | None = None
        self._told = False
        # When the port began to stand, and how often in a row there was none that lasted.
        self._is_shut = False
        self._since = 0.0
        self._failures = 0
        # Non-blocking accept() calls since the last peer.
        self._idle = 0
        # The answer to what was asked last, or that nothing is asked any more.
        self._settled = Event(happened=True)
        # One thread at a time waits for the peer: there is one.
        self._turn = Lock()
        # Without the address that it is bound to: that is where to listen, and not the way to the proxy.
        self._retire(fd)

    # ------------------------------------------------------------ what the program does

    def begin(self, sock: _socket.socket) -> None:
        """Listen; where ``sock`` may block, not without a port.

        Raises:
            OSError: there will be none.
        """
        with self._runtime.registry.lock:
            self._is_shut = False
            try:
                self.ask(originals.fileno(sock))
            except BaseException:
                self._withdraw(sock)
                raise
        if originals.gettimeout(sock) != 0:
            self._stand(sock)

    def ask(self, fd: int) -> None:
        """Ask the proxy for a port, unless there is one, or it has been asked."""
        if self.real is None or self.asking or self._control is not None:
            return
        self._drain(fd)
        self._error = None
        self._submit(0.0)

    def _stand(self, sock: _socket.socket) -> None:
        """Wait for the port, with no other limit than the settings' own."""
        self._wait(None)
        with self._runtime.registry.lock:
            if self._error is not None:
                self._withdraw(sock)
            self._raise_error(originals.fileno(sock))
            self._take_place()

    def _withdraw(self, sock: _socket.socket) -> None:
        """Be a socket as before listen() again, when there has never been a port."""
        if self._name is None and self.real is not None:
            self.real.setblocking(originals.gettimeout(sock) is None)
            for fd in self._here():
                put(self.real, fd)
            self.drop()

    def accept(self, sock: _socket.socket) -> tuple[int, Any]:
        """A new descriptor, connected to the peer, and the peer's address; as socket._accept().

        Raises:
            OSError: no port, or nobody will come.
            BlockingIOError, TimeoutError: nobody has come, by the mode of ``sock``.
        """
        timeout = originals.gettimeout(sock)
        if timeout == 0:
            found = self._try(originals.fileno(sock), patient=False)
            if found is None:
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return found
        end = None if timeout is None else monotonic() + timeout
        # Of a call that this one, in a signal handler, has interrupted.
        held = self._turn.is_mine
        try:
            if not held and not self._turn.acquire(timeout=-1 if timeout is None else timeout):
                raise TimeoutError("timed out")
            while True:
                found = self._try(originals.fileno(sock), patient=True)
                if found is not None:
                    return found
                self._sleep(originals.fileno(sock), end)
        finally:
            if not held and self._turn.is_mine:
                self._turn.release()

    def getsockname(self, fd: int) -> tuple[Any, ...]:
        """The address and port at the proxy, once they are known."""
        if self._name is None and self._error is None and not self._is_shut:
            # After a fork(), the parent's port is not ours.
            with self._runtime.registry.lock:
                self.ask(fd)
        if self._name is None or self._failures <= _FORGIVEN:
            # Else nobody knows when there will be a port.
            self._wait(None)
        with self._runtime.registry.lock:
            self._take_place()
            if self._name is not None:
                return self._name
            if self._error is not None:
                raise to_oserror(self._error) from self._error
            assert self.real is not None, "there has never been a port"
            # Shut down before there was one.
            return tuple(self.real.getsockname())

    def shutdown(self, sock: _socket.socket, how: int) -> None:
        """As of a socket that listens: for receiving, it ends that, until listen() is called again.

        Raises:
            OSError: it has been shut down.
        """
        if how not in (_socket.SHUT_RD, _socket.SHUT_WR, _socket.SHUT_RDWR):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self._is_shut:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        if how == _socket.SHUT_WR:
            return
        fd = originals.fileno(sock)
        self._take_place()
        if self.real is None:
            try:
                # Whoever sleeps in accept() sleeps on this one.
                originals.shutdown(sock, _socket.SHUT_RDWR)
            except OSError:
                # The proxy has hung up.
                pass
            self._retire(fd)
        elif self.asking:
            self._disown()
        self._came = None
        self._is_shut = True
        self._wake()

    def getsockopt(self, sock: _socket.socket, level: int, option: int, *buflen: int) -> Any:
        if level == _socket.SOL_SOCKET and not buflen:
            if option == _socket.SO_ACCEPTCONN:
                return int(not self._is_shut)
            if option == _socket.SO_ERROR and self.real is not None:
                return self._tell(originals.fileno(sock))
        if self.real is not None:
            return self.real.getsockopt(level, option, *buflen)
        return originals.getsockopt(sock, level, option, *buflen)

    def setsockopt(self, sock: _socket.socket, *args: Any) -> None:
        if self.real is not None:
            return self.real.setsockopt(*args)
        return originals.setsockopt(sock, *args)

    def let_go(self, fd: int) -> None:
        """The program closes ``fd``; with the last one the proxy stops listening."""
        self.fds.discard(fd)
        if not self.fds:
            if self._control is not None or self.real is None:
                self._say_who_might()
            self.drop()

    def drop(self) -> None:
        """Forget it, and close what is ours. The background thread gives up when it sees that."""
        self._runtime.registry.listening.pop(self.number, None)
        if self.asking:
            # What is left is closed with its report.
            return
        for sock in (self._far, self._control, self.real):
            if sock is not None:
                sock.close()
        self._far = self._control = self.real = None

    def forked(self) -> None:
        """In a child after fork(): what the parent has asked for is the parent's, so this one asks again."""
        self._settled = Event(happened=True)
        self._turn = Lock()
        if self.real is None:
            return
        if self.asking or self._control is not None:
            self.asking = False
            self._name = None
            before, self.real = self.real, unconnected(self.real)
            for sock in (before, self._control):
                if sock is not None and sock is not self.real:
                    sock.close()
            self._control = None
        self._step_back()
        self._wake()

    # ------------------------------------------------------------ one step

    def _try(self, fd: int, patient: bool) -> tuple[int, Any] | None:
        """The peer, if he is here; else go on towards one."""
        with self._runtime.registry.lock:
            if not is_open(fd, self.number):
                # By another thread, while this one waited.
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            if self._is_shut:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            self._raise_error(fd)
            self._take_place()
            if self.real is None:
                return self._receive(fd)
            self._idle += 1
            if patient or self._idle > 1:
                self.ask(fd)
            elif not self.asking:
                # Once more, for who has asked epoll for edges.
                self._wake()
            return None

    def _receive(self, fd: int) -> tuple[int, Any] | None:
        assert self._binding is not None, "there is a control connection"
        os.set_blocking(fd, False)
        try:
            if self._came is None:
                self._came = self._binding.peer(lambda size: os.read(fd, size))
        except SocksError as err:
            self._retire(fd)
            self._lapse(err)
            self._raise_error(fd)
        return None if self._came is None else self._hand_out(fd, self._came)

    def _say_who_might(self) -> None:
        """Nobody came: tell the user, if it may be since he was not let in."""
        binding = self._binding
        if binding is not None and binding.only:
            self._runtime.messages.alone(binding.place, binding.only)

    def _lapse(self, error: SocksError) -> None:
        """The port is no more: ask for another."""
        self._say_who_might()
        if isinstance(error, ProtocolError) or monotonic() - self._since < _LASTING:
            self._runtime.messages.failed_listening(error)
            self._fail(error)
            self._keep_up()
        else:
            self._runtime.messages.lapsed(error)
            self._failures = 0
            self._submit(0.0)

    def _hand_out(self, fd: int, came: Endpoint) -> tuple[int, Any]:
        """``fd`` is the connection to ``came``: return a descriptor of its own, and what accept() tells."""
        registry = self._runtime.registry
        new = os.dup(fd)
        try:
            self._retire(fd)
        except BaseException:
            os.close(new)
            raise
        self._wake()
        # Whatever the mode of the listening socket: as from accept4(2).
        os.set_blocking(new, True)
        self._came = None
        self._idle = self._failures = 0
        address = self._runtime.peer(came, (came.host, came.port), self._family == _socket.AF_INET6)
        registry.establish(inode(new), address, self._name)
        assert self._binding is not None, "somebody came by it"
        self._runtime.messages.accepted(came, self._binding.path)
        return new, address

    def _retire(self, fd: int) -> None:
        """Put a placeholder in the place of ``fd``, and behind it an unconnected socket with its options."""
        present = Own(self._family, _socket.SOCK_STREAM, 0, fileno=os.dup(fd))
        try:
            real = clone_socket(present, self._family)
        finally:
            present.close()
        try:
            self._step_back()
        except BaseException:
            real.close()
            raise
        self.real = real

    def _take_place(self) -> None:
        """Put the control connection where the program listens, if the proxy has given it."""
        control = self._control
        if control is None:
            return
        number = inode(control.fileno())
        self._put(control, number)
        control.close()
        if self.real is not control and self.real is not None:
            self.real.close()
        assert self._far is not None, "there was a placeholder"
        self._far.close()
        self._far = self._control = self.real = None

    def _step_back(self) -> None:
        """Put a new placeholder where the program listens."""
        near, far = placeholder()
        try:
            self._put(near, inode(near.fileno()))
        except BaseException:
            far.close()
            raise
        finally:
            near.close()
        if self._far is not None:
            self._far.close()
        self._far = far

    def _put(self, sock: _socket.socket, number: int) -> None:
        registry = self._runtime.registry
        for fd in self._here():
            put(sock, fd)
        registry.listening.pop(self.number, None)
        self.number = number
        registry.listen_at(number, self)

    def _here(self) -> list[int]:
        """The descriptors that the program still listens on: others may be another file by now."""
        return [fd for fd in self.fds if is_open(fd, self.number)]

    def _wake(self) -> None:
        """Make the placeholder readable."""
        assert self._far is not None, "there is a placeholder"
        try:
            self._far.send(b"\0")
        except OSError:
            # Closed by the program in a way that passes no patch.
            self.drop()

    def _drain(self, fd: int) -> None:
        """Make the placeholder unreadable."""
        os.set_blocking(fd, False)
        try:
            while os.read(fd, 64):
                pass
        except BlockingIOError:
            pass

    # ------------------------------------------------------------ the background thread

    def _submit(self, pause: float) -> None:
        """Have the proxy asked in ``pause`` seconds."""
        assert self._far is not None, "there is a placeholder"
        assert self.real is not None, "it is behind a placeholder"
        real, far, runtime = self.real, self._far, self._runtime
        expected = runtime.expected(self._family == _socket.AF_INET6)
        binding = self._binding = Binding(expected)
        settled = self._settled = Event()
        self.asking = True
        real.setblocking(False)

        def report(attempt: TunnelAttempt | None, error: SocksError | None) -> None:
            error = self._checked(binding, attempt, error)
            with runtime.registry.lock:
                if self._settled is settled:
                    try:
                        self._answered(attempt, error)
                    finally:
                        settled.set()
                    return
            # Disowned.
            if attempt is not None:
                attempt.abandon()
            real.close()
            far.close()

        try:
            runtime.background.submit(
                Task(
                    lambda: runtime.binding(real, expected, runtime.deadline(None)),
                    report,
                    far.fileno(),
                    monotonic() + pause,
                )
            )
        except BaseException:
            self.asking = False
            settled.set()
            raise

    def _disown(self) -> None:
        """Have the background thread give up, and close what it has been given."""
        assert self.real is not None, "the proxy is being asked"
        real = clone_socket(self.real, self._family)
        self._far = None
        self._step_back()
        self.real = real
        self.asking = False
        settled, self._settled = self._settled, Event(happened=True)
        settled.set()

    def _keep_up(self) -> None:
        """Ask again, later after each failure."""
        self._submit(min(_PAUSE * 2.0 ** min(self._failures - 1, 8), _LONGEST_PAUSE))

    def _checked(
        self, binding: Binding, attempt: TunnelAttempt | None, error: SocksError | None
    ) -> SocksError | None:
        """Tell the user how it went; the result is why there is no port."""
        if attempt is not None and error is None:
            try:
                place = binding.stands(attempt)
                if (":" in place.host) and self._family != _socket.AF_INET6:
                    raise SocksError(f"the proxy listens at {place}, which is not IPv4", errno.EAFNOSUPPORT)
                self._runtime.messages.listens(place, attempt.path)
            except SocksError as err:
                error = err
                attempt.abandon()
        if error is not None:
            self._runtime.messages.failed_listening(error)
        return error

    def _answered(self, attempt: TunnelAttempt | None, error: SocksError | None) -> None:
        self.asking = False
        if error is not None:
            self._cut_off()
            self._fail(error)
        elif attempt is not None and self._binding is not None:
            self._control = attempt.sock
            self._error = None
            self._since = monotonic()
            place = self._binding.place
            self._name = self._runtime.peer(place, (place.host, place.port), self._family == _socket.AF_INET6)
        if not self._here():
            self.drop()
        elif error is None or self._name is None:
            self._wake()
        else:
            if self._failures == _FORGIVEN + 1:
                self._wake()
            self._keep_up()

    def _cut_off(self) -> None:
        """Behind the placeholder, an unconnected socket again."""
        if self.real is not None:
            before, self.real = self.real, unconnected(self.real)
            if self.real is not before:
                before.close()

    def _fail(self, error: SocksError) -> None:
        self._failures += 1
        # Without its traceback, which is the background thread's and would keep alive what that names.
        self._error = error.with_traceback(None)
        self._told = self._name is not None and self._failures <= _FORGIVEN

    # ------------------------------------------------------------ errors, waiting

    def _tell(self, fd: int) -> int:
        """The errno of what failed, once; else 0."""
        if self._error is None or self._told:
            return 0
        self._told = True
        if self.real is not None:
            self._drain(fd)
        return self._error.errno

    def _raise_error(self, fd: int) -> None:
        if self._tell(fd):
            assert self._error is not None, "it has an errno"
            raise to_oserror(self._error) from self._error

    def _wait(self, timeout: float | None) -> None:
        self._settled.wait(timeout)

    def _sleep(self, fd: int, end: float | None) -> None:
        """Until something has changed.

        Raises:
            TimeoutError: ``end`` has come.
        """
        left = None if end is None else end - monotonic()
        if left is not None and left <= 0:
            raise TimeoutError("timed out")
        if self.asking:
            self._wait(left)
            return
        poller = originals.poll()
        poller.register(fd, POLLIN)
        poller.poll(None if left is None else int(left * 1000) + 1)
