"""A second association of a channel, whose request has our port: for a relay that is silent without it.

``tunnel.request_port`` decides when it is tried, and with what result. A datagram for the second association
waits in the channel's queue until the background thread has set it up; the program's call returns at once.
The first association is kept until an answer has come through either of them, or the trial has ended without
one. Answers are taken from both.
"""

from __future__ import annotations

import _socket
from time import monotonic

from pywrap.intercept import originals
from pywrap.intercept.udp.channel import Kept
from pywrap.socks.wire import V4_MAPPED_TEXT, Endpoint
from pywrap.tunnel.request_port import WITH_PORT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.intercept.udp.channel import Channel, SockAddr
    from pywrap.intercept.udp.flow_state import FlowState
    from pywrap.tunnel.association import Association
    from pywrap.tunnel.request_port import RequestPort


class SecondAssociations:
    """The second associations of one flow. Callers hold ``registry.lock``, except for ``answered``."""

    def __init__(self, state: FlowState) -> None:
        self._state = state
        self._runtime = state.runtime

    def request_port(self, channel: Channel) -> RequestPort | None:
        """The state of the hop of ``channel``; None where the chain has several hops."""
        return self._state.table.request_ports.of(self._runtime.chains[channel.chain])

    def wants_port(self, channel: Channel) -> bool:
        """Whether a request that is made now has our port."""
        request = self.request_port(channel)
        return request is not None and request.is_wanted(monotonic())

    def own(self, sock: _socket.socket, channel: Channel) -> Endpoint:
        """The address from which ``sock`` sends, as a request names it."""
        host, port = self._state.kernel.own_name(sock)[:2]
        host = host.removeprefix(V4_MAPPED_TEXT).partition("%")[0]
        if host in ("0.0.0.0", "::") and not self._runtime.is_confined:
            # Known, since datagrams were sent to this proxy before. In a confinement the proxy sees another
            # address, but the same port, where the broker could take it.
            host = self._runtime.local_host(channel.chain) or host
        return Endpoint(host, port)

    def is_due(self, sock: _socket.socket, message: bytes, channel: Channel) -> bool:
        """Whether ``message`` has to wait for a second association. If not, it is counted as sent.

        The channel has an association.
        """
        request = channel.request_port
        if request is None:
            return False
        now = monotonic()
        if channel.task is None and request.is_wanted(now) == channel.has_port:
            if request.is_known:
                self.settle(channel)
            request.sent(now, channel.has_port)
            return False
        self.settle(channel)
        if channel.request_port is None:
            return False
        # A datagram for which the queue has no room goes through the association that there is.
        room = originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_SNDBUF)
        return not channel.queue or channel.queued + len(message) <= room

    def use(self, channel: Channel, has_port: bool) -> None:
        """Before the channel gets another association: keep the one that it has, and note ``has_port``."""
        if channel.association is not None:
            channel.kept = Kept(channel.association, channel.relay, channel.watches, channel.has_port)
        channel.has_port = has_port
        channel.request_port = self.request_port(channel)

    def sent(self, channel: Channel) -> None:
        """Count a datagram that was sent from the queue."""
        if channel.request_port is not None:
            channel.request_port.sent(monotonic(), channel.has_port)

    def is_refused(self, channel: Channel) -> bool:
        """Whether the channel can go on with the first association, after the second could not be set up."""
        request = channel.request_port
        if request is not None:
            request.refused()
            self.settle(channel)
        return request is None or request.state != WITH_PORT

    def is_of_use(self, channel: Channel, association: Association, has_port: bool) -> bool:
        """Whether ``association``, which was set up for ``channel``, is to be used."""
        request, first = channel.request_port, channel.association
        if first is None or request is None:
            return first is None
        if association.relay == first.relay:
            # The proxy has one relay for all requests: an answer would not show to which request it is due.
            request.refused()
        return request.is_wanted(monotonic()) == has_port

    def can_do_without(self, channel: Channel, association: Association) -> bool:
        """Whether the channel goes on with its other association, now that ``association`` has ended."""
        kept, request = channel.kept, channel.request_port
        if kept is None or request is None:
            return False
        if association is kept.association:
            channel.kept = None
            self.close(channel, kept)
            return True
        if channel.has_port:
            request.refused()
        self.settle(channel)
        return channel.association is not association

    def answered(self, channel: Channel, source: SockAddr) -> None:
        """Note that a datagram of the relay at ``source`` is for the program."""
        request, kept = channel.request_port, channel.kept
        if request is None:
            return
        if kept is not None and source == kept.relay:
            # Where both associations have one relay, an answer does not show to which request it is due.
            has_port = kept.has_port
        elif source == channel.relay:
            has_port = channel.has_port
        else:
            # The datagram is of an association that has ended.
            return
        was_known = request.is_known
        request.answered(has_port)
        if has_port and not was_known:
            hop = self._runtime.chains[channel.chain].proxies[0]
            self._runtime.messages.say(1, f"UDP: proxy {hop} answers only if the request carries our port")
        with self._runtime.registry.lock:
            self.settle(channel)

    def settle(self, channel: Channel) -> None:
        """If it is known which request the hop wants, send through that association, and close the other."""
        request = channel.request_port
        if request is None or not request.is_known:
            return
        kept = channel.kept
        if channel.has_port != (request.state == WITH_PORT):
            if kept is None:
                # There is no association; the next datagram sets one up.
                return
            now = Kept(channel.association, channel.relay, channel.watches, channel.has_port)  # type: ignore[arg-type]
            channel.kept = None
            channel.has_port, channel.watches = kept.has_port, kept.watches
            channel.use(kept.association, kept.relay)
            self.close(channel, now)
        elif kept is not None:
            channel.kept = None
            self.close(channel, kept)
        if channel.task is None:
            channel.request_port = None

    def close(self, channel: Channel, kept: Kept) -> None:
        """Close ``kept``, which the channel does not have any more."""
        for task in kept.watches:
            # Cancelling the task closes the control connection as well.
            self._runtime.background.cancel(task)
        self._runtime.registry.disallow(kept.relay)
        if kept.relay != channel.relay:
            self._state.relays.pop(kept.relay, None)
