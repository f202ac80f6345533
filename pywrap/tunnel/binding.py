"""BIND at the last proxy: where it listens, and the second reply, which says who came.

The first reply ends an ``TunnelAttempt``. The second comes whenever the peer does, on a socket that somebody
polls.
"""

from __future__ import annotations

import errno

from pywrap.errors import ProxyClosed, SocksError
from pywrap.socks.wire import Endpoint, packed, unpacked
from pywrap.tunnel.address_scope import connect_limit
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
    """One BIND, for one peer. ``expected`` is the destination of its request; 0.0.0.0 and :: are anybody.

    ``path``: the hops that it went through, and ``place``: where it listens, once it stands.
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
        """Who alone may come; "" where anybody may."""
        return self.expected.host if any(address_of(self.expected.host) or b"\1") else ""

    def stands(self, attempt: TunnelAttempt) -> Endpoint:
        """The first reply is in: where the peer has to connect to.

        Raises:
            SocksError: the reply does not tell, and nobody else can.
        """
        self.path = attempt.path
        bound = advertised_address(attempt)
        if bound is None or not attempt.bound.port:
            raise SocksError(f"proxy {self.path[-1]} does not say where it listens", errno.EADDRNOTAVAIL)
        self.place = bound
        return bound

    def peer(self, read: Callable[[int], bytes]) -> Endpoint | None:
        """Who came, by the second reply; None when that is not here yet, or not all of it.

        ``read`` takes up to so many bytes from the control connection, which does not block.

        Raises:
            SocksError: nobody will come.
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
            # Whoever asks again reads on, and hears of it again.
            self._second = None
            self._got.clear()
            raise
        except StopIteration as end:
            peer: Endpoint = end.value
            if any(address_of(peer.host) or b"\1"):
                return peer
            # Some proxies say nothing. It can only be the one who was expected, if anybody was.
            return self.expected

    def _receive(self, read: Callable[[int], bytes]) -> bytes:
        """What the dialogue asks for; its own exception when there will be no more."""
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
                    self._second.throw(ProxyClosed("the proxy hung up before anybody came"))
                self._got += chunk
        got, self._got = bytes(self._got), bytearray()
        return got


def advertised_address(attempt: TunnelAttempt) -> Endpoint | None:
    """The address that the last proxy says it has bound; None when that is of no use to anybody.

    It is the proxy's own where the reply has none, or one that is known to fewer (of a site, behind NAT). In
    the place of a port that it does not say is our own, of the connection to the first hop.
    """
    bound, own = address_of(attempt.bound.host), packed(attempt.path[-1].host)
    if len(attempt.path) == 1:
        try:
            own = address_of(str(attempt.sock.getpeername()[0]))
        except OSError:
            # Gone already. Whoever reads will be told.
            own = None
    if bound is None or (own is not None and connect_limit(bound) < connect_limit(own)):
        bound = own
    if bound is None or not any(bound):
        return None
    return Endpoint(unpacked(bound), attempt.bound.port or int(attempt.sock.getsockname()[1]))
