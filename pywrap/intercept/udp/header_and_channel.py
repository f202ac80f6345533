"""The header and the channel of a datagram, by its destination; or that it leaves directly.

Routes are remembered by the address that the program uses: the verdict on a destination does not change.
"""

from __future__ import annotations

import _socket
import errno
import os

from pywrap.errors import Unencodable, to_oserror
from pywrap.intercept import originals
from pywrap.intercept.addresses import target, with_host
from pywrap.intercept.udp.channel import ABANDONED, Channel
from pywrap.socks.datagram import LONGEST_HEADER, pack_header
from pywrap.tunnel.routes import DIRECT, REFUSE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pywrap.intercept.udp.closing import Closing
    from pywrap.intercept.udp.flow_state import FlowState, Route, SockAddr
    from pywrap.intercept.udp.receive import Receiver
    from pywrap.tunnel.routes import Verdict

# How many routes a socket remembers.
_ROUTES = 4096

# How many names at one port a socket can distinguish at a time; each has an association of its own.
_CHANNELS = 64


class Routing:
    """The routes of a flow."""

    def __init__(self, state: FlowState, closing: Closing, receiver: Receiver) -> None:
        self._state = state
        self._closing = closing
        self._receiver = receiver
        self._runtime = state.runtime
        # Whether the user was informed that some channels had to be recycled.
        self._has_recycled = False

    def find_route(self, sock: _socket.socket, address: Any, connecting: bool = False) -> Route:
        """The route to ``address``; with ``connecting``, the route of a socket that connects to it.

        Raises:
            OSError: the destination is refused.
        """
        routes = self._state.routes
        try:
            return routes[address]
        except (KeyError, TypeError):
            pass
        found = target(sock, address)
        if found is None:
            # The address is malformed: C raises the error.
            return None, address
        if found.port == 0 and not connecting:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        verdict = self._runtime.verdict(found, datagram=True)
        if verdict.kind == REFUSE:
            raise OSError(verdict.errno, verdict.reason)
        if len(routes) >= _ROUTES:
            routes.clear()
        route: Route
        if verdict.kind == DIRECT:
            route = None, with_host(address, verdict.literal, verdict.destination.port)
            self._receiver.allow_source(self._source(route[1]))
        else:
            route = self._through(verdict, address)
        if found.port:
            try:
                # Not the local `routes`: another thread may have recycled a channel meanwhile.
                self._state.routes[address] = route
            except TypeError:
                # The host is a bytearray, which is not hashable: rare, so the route is found anew each time.
                pass
        return route

    def _source(self, address: Any) -> SockAddr:
        """``address`` as recvfrom() returns it; () for a name that C resolves."""
        flags = _socket.AI_NUMERICHOST
        if self._state.is_ipv6:
            flags |= _socket.AI_V4MAPPED
        host, port, family = address[0] or None, address[1], self._state.kernel.family
        try:
            rows = originals.getaddrinfo(host, port, family, _socket.SOCK_DGRAM, 0, flags)
        except _socket.gaierror:
            return ()
        return tuple(rows[0][4][:2])

    # ------------------------------------------------------------ through a chain

    def _through(self, verdict: Verdict, address: Any) -> Route:
        """The route through the chain of ``verdict`` to ``address``."""
        state, runtime = self._state, self._runtime
        refusal = runtime.no_datagrams(verdict, state.kernel.proto)
        try:
            if refusal is not None:
                raise refusal
        finally:
            # The traceback has this frame, as in ``connecting``.
            del refusal
        if state.kernel.family == _socket.AF_INET and runtime.has_ipv6_proxy_only(verdict.chain):
            # Done now, rather than in the middle of a recvfrom().
            with runtime.registry.lock:
                state.kernel.move_to_ipv6()
                state.forget_usual()
        try:
            header = pack_header(verdict.destination)
        except Unencodable as err:
            raise to_oserror(err) from err
        called = runtime.peer(verdict.destination, address, state.is_ipv6)
        with runtime.registry.lock:
            channel = self._channel(verdict, header, called)
            channel.expect(verdict.destination, header, called)
        # Reserved now: a thread that sleeps in recv() when the answer comes has passed its buffer to the
        # kernel.
        self._receiver.reserve_header(LONGEST_HEADER * len(runtime.chains[verdict.chain].proxies))
        return channel, header

    def _channel(self, verdict: Verdict, header: bytes, called: SockAddr) -> Channel:
        """The channel in which answers of the destination can be recognized. The caller holds the lock."""
        chain, channels = verdict.chain, self._state.channels
        for number in range(_CHANNELS):
            channel = channels.get((chain, number))
            if channel is None:
                channel = channels[chain, number] = self._new_channel(chain)
            if channel.takes(verdict.destination, header, called):
                return channel
        return self._recycle(chain, verdict.destination.port)

    def _new_channel(self, chain: str) -> Channel:
        return Channel(chain, self._state.is_ipv6, self._runtime.routes.is_from_beyond)

    def _recycle(self, chain: str, port: int) -> Channel:
        """A new channel in the place of the one that was idle longest. The caller holds ``registry.lock``.

        An answer that is still on its way through the old channel is dropped, rather than taken for one of
        another name.
        """
        state = self._state
        of_peer = None if state.route is None else state.route[0]
        idle = [
            (channel.used, key)
            for key, channel in state.channels.copy().items()
            if channel.chain == chain and channel is not of_peer and not channel.is_busy
        ]
        if not idle:
            words = f"{_CHANNELS} associations for names at port {port} are being opened already"
            raise OSError(errno.ENOBUFS, words)
        if not self._has_recycled:
            self._has_recycled = True
            self._runtime.messages.say(
                1,
                f"UDP: one socket sends to more than {_CHANNELS} names at port {port}: "
                "those idle longest lose their associations",
            )
        _, key = min(idle)
        old = state.channels[key]
        if old.association is not None:
            state.relays[old.relay] = ABANDONED
            if old.kept is not None:
                state.relays[old.kept.relay] = ABANDONED
        self._closing.give_up(old)
        old.is_recycled = True
        routes = state.routes.copy()
        state.routes = {address: route for address, route in routes.items() if route[0] is not old}
        channel = state.channels[key] = self._new_channel(chain)
        return channel
