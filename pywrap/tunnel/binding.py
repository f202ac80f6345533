"""BIND at the last proxy: where it listens, and the second reply, which names the peer that connected.

A ``TunnelAttempt`` ends with the first reply. The second comes when the peer does, on the control connection,
which the caller polls (RFC 1928 section 4).
"""

from __future__ import annotations

import errno

from pywrap.errors import ProxyClosed, SocksError
from pywrap.socks.address_scope import connect_limit
from pywrap.socks.wire import Endpoint, packed, unpacked
from pywrap.tunnel.chain import peer_of_bind
from pywrap.tunnel.routes import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue
    from pywrap.tunnel.attempt import TunnelAttempt


class Binding:
    """One BIND, for one peer.

    ``expected``: the destination of the request, the only peer that may connect; 0.0.0.0 and :: allow any.
    After the first reply, ``path`` has the hops that the request went through, and ``place`` the address
    where the last hop listens.
    """

    def __init__(self, expected: Endpoint) -> None:
        self.expected = expected
        self.path: tuple[Proxy, ...] = ()
        self.place = Endpoint("", 0)
        self._step: Any = None
        self._got = bytearray()
        self._second: Dialogue[Endpoint] | None = None

    @property
    def only(self) -> str:
        """The host that alone may connect; "" where any may."""
        return self.expected.host if any(address_of(self.expected.host) or b"\1") else ""

    def stands(self, attempt: TunnelAttempt) -> Endpoint:
        """Take the first reply, which ``attempt`` has received; return where the peer has to connect to.

        Raises:
            SocksError: the reply has no port, or no address that can be used (EADDRNOTAVAIL).
        """
        self.path = attempt.path
        bound = advertised_address(attempt)
        if bound is None or not attempt.bound.port:
            raise SocksError(f"proxy {self.path[-1]} does not say where it listens", errno.EADDRNOTAVAIL)
        self.place = bound
        return bound

    def peer(self, read: Callable[[int], bytes]) -> Endpoint | None:
        """The peer that has connected, by the second reply; None while that has not arrived completely.

        ``read(size)`` receives up to ``size`` bytes from the control connection, without blocking.

        Raises:
            SocksError: the proxy reports a failure or hangs up, so no peer can come.
        """
        try:
            if self._second is None:
                self._second = peer_of_bind(self.path)
                self._step = next(self._second)
            while True:
                self._step = self._second.send(self._receive(read))
        except BlockingIOError:
            return None
        except SocksError:
            # The next call starts a new dialogue, reads on, and meets the same failure.
            self._second = None
            self._got.clear()
            raise
        except StopIteration as end:
            peer: Endpoint = end.value
            if any(address_of(peer.host) or b"\1"):
                return peer
            # Some proxies name no peer. Where the request named one, it can only be that.
            return self.expected

    def _receive(self, read: Callable[[int], bytes]) -> bytes:
        """The bytes that the dialogue asks for; raises its exception when the proxy has hung up."""
        assert self._second is not None
        while len(self._got) < self._step:
            try:
                chunk = read(self._step - len(self._got))
            except BlockingIOError:
                raise
            except OSError as err:
                self._second.throw(ProxyClosed(f"the connection to the proxy broke: {err.strerror}"))
            else:
                if not chunk:
                    self._second.throw(ProxyClosed("the proxy hung up before a peer connected"))
                self._got += chunk
        got, self._got = bytes(self._got), bytearray()
        return got


def advertised_address(attempt: TunnelAttempt) -> Endpoint | None:
    """The address and port to tell the peer of a BIND, from the last proxy's first reply; None without one.

    The address is the proxy's own, by which we reach it, where the reply has 0.0.0.0 or one that fewer hosts
    can reach (a private one, of a proxy behind a NAT). Where the reply has port 0, the port is that of our
    end of the connection to the first hop.
    """
    bound, own = address_of(attempt.bound.host), packed(attempt.path[-1].host)
    if len(attempt.path) == 1:
        try:
            own = address_of(str(attempt.sock.getpeername()[0]))
        except OSError:
            # The proxy has hung up already, which the next read reports.
            own = None
    if bound is None or (own is not None and connect_limit(bound) < connect_limit(own)):
        bound = own
    if bound is None or not any(bound):
        return None
    return Endpoint(unpacked(bound), attempt.bound.port or int(attempt.sock.getsockname()[1]))
