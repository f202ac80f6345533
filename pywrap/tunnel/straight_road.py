"""The straight road: a strict chain of SOCKS5 proxies, each of which answers as most do.

The messages for such a chain are known before the connection: all but the last request are made once
(``Road``). ``StraightTunnel`` sends them, and compares the answers with the usual ones, byte by byte. At
anything else (an error, a refusal, another form of an address, a time limit) a ``TunnelAttempt`` takes over:
it gets the bytes sent and received so far, and handles all cases. So this module only decides whether
everything is as usual.
"""

from __future__ import annotations

import _socket
from _operator import methodcaller
from _socket import MSG_DONTWAIT

from pywrap.errors import Unencodable
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, Send, is_loopback, packed
from pywrap.tunnel.attempt import POLLIN, POLLOUT, TunnelAttempt
from pywrap.tunnel.selection import Fixed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from pywrap.config.settings import Path, Proxy, Settings
    from pywrap.socks.wire import Script
    from pywrap.tunnel.deadline import Deadline
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.selection import Selection

    T = TypeVar("T")


class Road:
    """What all connections through ``path`` have in common.

    ``place``: the address of the first hop, packed (4 or 16 bytes). ``kind``: the class of the tuple that is
    passed to connect().
    """

    __slots__ = ("family", "hops", "is_here", "path", "script", "sockaddr")

    def __init__(self, hops: Hops, path: Path, place: bytes, kind: type[tuple[Any, ...]]) -> None:
        address = hops.first(path[0]).addresses()[0]
        self.hops = hops
        self.path = path
        self.family = address.family
        self.sockaddr = kind(address.sockaddr)
        # To a hop on this machine, the TCP connection is there when connect() returns.
        self.is_here = is_loopback(place)
        # All but the last request.
        script: Script = ()
        for hop, onward in zip(path, (*path[1:], None), strict=True):
            script += v5.usual_login(hop.username, hop.password)
            if onward is not None:
                script += v5.usual_connect(Endpoint(onward.host, onward.port))
        self.script = script


def road(
    settings: Settings, hops: Hops, selection: Selection, kind: type[tuple[Any, ...]] = tuple
) -> Road | None:
    """The straight road of ``selection``; None where it has none. ``kind``: see ``Road``."""
    is_plain = settings.pipeline == "off" and not settings.fast_open and settings.listen != "bind"
    if not is_plain or settings.log or not isinstance(selection, Fixed):
        return None
    path = selection.path
    place = packed(path[0].host)
    if place is None or not all(map(_speaks_plain_socks5, path)):
        return None
    try:
        return Road(hops, path, place, kind)
    except Unencodable:
        # For example a username that is too long. Each connection has a ``TunnelAttempt`` then, whose error
        # names the hop.
        return None


def _speaks_plain_socks5(hop: Proxy) -> bool:
    return hop.scheme in ("socks5", "socks5h") and not hop.is_secured


class StraightTunnel:
    """A tunnel along ``road`` on ``sock``, which never waits; used as a ``TunnelAttempt`` is.

    ``otherwise`` makes the ``TunnelAttempt`` that takes over, on the socket that it is given.
    """

    __slots__ = (
        *("_at", "_general", "_heard", "_otherwise", "_road", "_said", "_script"),
        *("deadline", "path", "sock", "wants"),
    )

    def __init__(
        self,
        sock: _socket.socket,
        road: Road,
        destination: Endpoint,
        deadline: Deadline,
        otherwise: Callable[[_socket.socket], TunnelAttempt],
    ) -> None:
        self._script = road.script + v5.usual_connect(destination)
        # The number of steps of the script that are done; the number of bytes sent; the bytes received.
        self._at = 0
        self._said = 0
        self._heard = b""
        self._road = road
        self._otherwise = otherwise
        # The ``TunnelAttempt``, once it has taken over.
        self._general: TunnelAttempt | None = None
        self.deadline = deadline
        self.path = road.path
        self.sock = sock
        self.wants = POLLOUT

    def start(self) -> bool:
        """Connect to the first hop, and go on without waiting; see ``TunnelAttempt.start``."""
        self.deadline.connecting()
        try:
            self.sock.connect(self._road.sockaddr)
        except BlockingIOError:
            return self._talk() if self._road.is_here else False
        except OSError:
            return self._leave(TunnelAttempt.start)
        return self._talk()

    def advance(self) -> bool:
        """Go as far as possible without waiting; return whether the tunnel is open."""
        return self._talk() if self._general is None else self._leave(TunnelAttempt.advance)

    def expire(self) -> bool:
        """The deadline's moment has passed."""
        return self._leave(TunnelAttempt.expire)

    def abandon(self) -> None:
        """Give the tunnel up; see ``TunnelAttempt.abandon``."""
        if self._general is not None or self._said:
            self._leave(TunnelAttempt.abandon)

    def _talk(self) -> bool:
        """Do the steps of the script; return True at its end, False when the socket would block."""
        sock, script = self.sock, self._script
        try:
            while True:
                step = script[self._at]
                if isinstance(step, Send):
                    sent = self._send(sock, step, MSG_DONTWAIT)
                    self._said += sent
                    if sent < len(step):
                        return self._leave(TunnelAttempt.advance)
                    self._at += 1
                    # The answer takes a round trip.
                    self.wants = POLLIN
                    self.deadline.waiting()
                    return False
                size = len(step) if isinstance(step, bytes) else step
                answer = self._receive(sock, size, MSG_DONTWAIT)
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
            # Not a lambda, whose cell would keep ``err`` in this frame, which the traceback of ``err`` has.
            return bool(self._leave(methodcaller("fail", err)))

    _send = staticmethod(_socket.socket.send)
    _receive = staticmethod(_socket.socket.recv)

    def _leave(self, go_on: Callable[[TunnelAttempt], T]) -> T:
        """Have the ``TunnelAttempt`` take over, unless it has before; return ``go_on(attempt)``."""
        general = self._general
        if general is None:
            general = self._general = self._otherwise(self._handed_over())
            general.take_over(self._said, self._heard)
        try:
            return go_on(general)
        finally:
            self.sock, self.wants, self.path = general.sock, general.wants, general.path

    def _handed_over(self) -> _socket.socket:
        """The socket for the ``TunnelAttempt`` that takes over."""
        return self.sock
