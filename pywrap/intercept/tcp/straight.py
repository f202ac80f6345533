"""The straight road: a strict chain of SOCKS5 proxies, each of which answers as most do.

What is said to such a chain is known before the connection: all but the destination is made once (``Road``).
``StraightAttempt`` sends that, and compares what comes back with the usual answer, byte by byte. At anything
else (an error, a refusal, another form of an address, a time limit) a ``TunnelAttempt`` takes over: it is
told how far it came, and knows all cases. So nothing is decided here but that all is as usual.
"""

from __future__ import annotations

import errno
from _operator import methodcaller
from _socket import MSG_DONTWAIT

from pywrap.errors import SocksError, Unencodable
from pywrap.intercept import originals
from pywrap.intercept.own_socket import Own
from pywrap.intercept.socket_inodes import is_open
from pywrap.intercept.tcp.connected_errno import kernel_error
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, Send, is_loopback, packed
from pywrap.tunnel.attempt import POLLIN, POLLOUT, TunnelAttempt
from pywrap.tunnel.selection import Fixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import TypeVar

    from pywrap.config.settings import Path, Proxy, Settings
    from pywrap.socks.wire import Script
    from pywrap.tunnel.deadline import Deadline
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.selection import Selection

    T = TypeVar("T")


class HopAddress(tuple):  # type: ignore[type-arg]
    """The address of a first hop, for connect(): the audit hook sees by the class that it is one of ours."""

    __slots__ = ()


class Road:
    """What all connections through ``path`` have in common. ``place``: the address of the first hop."""

    __slots__ = ("family", "hops", "is_here", "path", "script", "sockaddr")

    def __init__(self, hops: Hops, path: Path, place: bytes) -> None:
        address = hops.first(path[0]).addresses()[0]
        self.hops = hops
        self.path = path
        self.family = address.family
        self.sockaddr = HopAddress(address.sockaddr)
        # On this machine, TCP has connected before connect() returns.
        self.is_here = is_loopback(place)
        # All but the last request.
        script: Script = ()
        for hop, onward in zip(path, (*path[1:], None), strict=True):
            script += v5.usual_login(hop.username, hop.password)
            if onward is not None:
                script += v5.usual_connect(Endpoint(onward.host, onward.port))
        self.script = script


def road(settings: Settings, hops: Hops, selection: Selection) -> Road | None:
    """The straight road of ``selection``; None where it has none."""
    is_plain = settings.pipeline == "off" and not settings.fast_open and settings.listen != "bind"
    if not is_plain or settings.log or not isinstance(selection, Fixed):
        return None
    path = selection.path
    place = packed(path[0].host)
    if place is None or not all(map(_speaks_plain_socks5, path)):
        return None
    try:
        return Road(hops, path, place)
    except Unencodable:
        # For example a username that is too long: the error names the hop at each connection.
        return None


def _speaks_plain_socks5(hop: Proxy) -> bool:
    return hop.scheme in ("socks5", "socks5h") and not hop.is_secured


class HadPeer(Exception):
    """The socket was connected before, or listens: nothing was done to it. ``errno``: EISCONN or EALREADY."""

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


class StraightAttempt:
    """A tunnel along ``road`` on ``sock``, whose inode is ``number``; used as a ``TunnelAttempt`` is.

    ``sock`` is the program's own socket, without a timeout, or a duplicate; either way in non-blocking mode.
    ``otherwise`` makes the ``TunnelAttempt`` that takes over, on the socket that it is given.
    """

    __slots__ = (
        "_at",
        "_fd",
        "_general",
        "_heard",
        "_number",
        "_otherwise",
        "_road",
        "_said",
        "_script",
        "deadline",
        "duplicate",
        "path",
        "sock",
        "wants",
    )

    # No name of a first hop has to be looked up.
    is_ready = True

    def __init__(
        self,
        sock: _socket.socket,
        number: int,
        road: Road,
        destination: Endpoint,
        deadline: Deadline,
        otherwise: Callable[[_socket.socket], TunnelAttempt],
    ) -> None:
        self._script = road.script + v5.usual_connect(destination)
        # How many of its steps are done; how many bytes have been sent, and those that were received.
        self._at = 0
        self._said = 0
        self._heard = b""
        self._fd = originals.fileno(sock)
        self._number = number
        self._road = road
        self._otherwise = otherwise
        # What has taken over; and the socket that was made for it, where ``sock`` is the program's.
        self._general: TunnelAttempt | None = None
        self.duplicate: Own | None = None
        self.deadline = deadline
        self.path = road.path
        self.sock = sock
        self.wants = POLLOUT

    def start(self) -> bool:
        """As of ``TunnelAttempt``, and so are the three below.

        Raises:
            HadPeer: there is no tunnel to open on ``sock``.
        """
        self.deadline.connecting()
        try:
            originals.connect(self.sock, self._road.sockaddr)
        except BlockingIOError as err:
            # TCP connects. EALREADY is of the same class.
            if err.errno == errno.EALREADY:
                raise HadPeer(err.errno) from None
        except OSError as err:
            if err.errno == errno.EISCONN:
                raise HadPeer(err.errno) from None
            return self._leave(TunnelAttempt.start)
        else:
            error = kernel_error(self.sock)
            if error:
                # An earlier connect() has ended, which the kernel tells by this one.
                raise HadPeer(error)
            return self._leave(TunnelAttempt.advance)
        return self._talk() if self._road.is_here else False

    def advance(self) -> bool:
        """Go as far as possible without waiting; is the tunnel open?"""
        if self._general is not None:
            return self._leave(TunnelAttempt.advance)
        if not self.is_ours():
            raise self._closed()
        return self._talk()

    def expire(self) -> bool:
        """The deadline's moment has passed."""
        if self._general is None and not self.is_ours():
            raise self._closed()
        return self._leave(TunnelAttempt.expire)

    def abandon(self) -> None:
        """Close what was opened here, if anything was."""
        if self._general is not None or (self._said and self.is_ours()):
            self._leave(TunnelAttempt.abandon)

    def is_ours(self) -> bool:
        """Is the descriptor still that of ``sock``?"""
        return originals.fileno(self.sock) == self._fd and is_open(self._fd, self._number)

    def _closed(self) -> SocksError:
        # As C says it of a socket that was closed while it connects.
        number = errno.EBADF if originals.fileno(self.sock) < 0 else errno.ECONNABORTED
        return SocksError("abandoned: the program has closed its descriptor", number)

    def _talk(self) -> bool:
        """Go on with the script, until it ends or the socket makes us wait."""
        sock, script = self.sock, self._script
        try:
            while True:
                step = script[self._at]
                if isinstance(step, Send):
                    sent = originals.send(sock, step, MSG_DONTWAIT)
                    self._said += sent
                    if sent < len(step):
                        return self._leave(TunnelAttempt.advance)
                    self._at += 1
                    # The answer takes a round trip.
                    self.wants = POLLIN
                    self.deadline.waiting()
                    return False
                size = len(step) if isinstance(step, bytes) else step
                answer = originals.recv(sock, size, MSG_DONTWAIT)
                self._heard += answer
                if answer != step and (size is not step or len(answer) < size):
                    return self._leave(TunnelAttempt.advance)
                self._at += 1
                if self._at == len(script):
                    self._road.hops.live(self.path)
                    return True
        except BlockingIOError:
            return False
        except OSError as err:
            # No lambda: the traceback has this frame, which would have ``err`` for good.
            return bool(self._leave(methodcaller("fail", err)))

    def _leave(self, go_on: Callable[[TunnelAttempt], T]) -> T:
        """Have the ``TunnelAttempt`` take over, unless it has, and go on with it."""
        general = self._general
        if general is None:
            sock = self.sock
            if not isinstance(sock, Own):
                sock = self.duplicate = Own.duplicate(sock, self._number)
            general = self._general = self._otherwise(sock)
            general.take_over(self._said, self._heard)
        try:
            return go_on(general)
        finally:
            self.sock, self.wants, self.path = general.sock, general.wants, general.path
