"""A second association of a channel, whose request carries our port: for a relay that is silent without it.

``tunnel.request_port`` says when that is tried, and what comes of it. A datagram that wants the second
association waits in the channel's queue until the background thread has opened it; the program's call returns
at once. The first association is kept until an answer has come through either of them, or until no answer
comes. Answers are taken from both.
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
    """Of the channels of one flow. Methods are called under ``registry.lock``, but for ``answered``."""

    def __init__(self, state: FlowState) -> None:
        self._state = state
        self._runtime = state.runtime

    def request_port(self, channel: Channel) -> RequestPort | None:
        """What is known of the hop of ``channel``; None where there are several."""
        return self._state.table.request_ports.of(self._runtime.chains[channel.chain])

    def wants_port(self, channel: Channel) -> bool:
        """Does a request that is made now carry our port?"""
        request = self.request_port(channel)
        return request is not None and request.is_wanted(monotonic())

    def own(self, sock: _socket.socket, channel: Channel) -> Endpoint:
        """The address that ``sock`` sends from, as a request names it."""
        host, port = self._state.kernel.own_name(sock)[:2]
        host = host.removeprefix(V4_MAPPED_TEXT).partition("%")[0]
        if host in ("0.0.0.0", "::") and not self._runtime.is_confined:
            # Known, since something was sent to this proxy before. In a confinement it is none that the proxy
            # sees; the port is, where the broker could take the same.
            host = self._runtime.local_host(channel.chain) or host
        return Endpoint(host, port)

    def is_due(self, sock: _socket.socket, message: bytes, channel: Channel) -> bool:
        """Does ``message`` wait for a second association? If it does not, count it.

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
        # What finds no room goes through the association that there is.
        room = originals.getsockopt(sock, _socket.SOL_SOCKET, _socket.SO_SNDBUF)
        return not channel.queue or channel.queued + len(message) <= room

    def use(self, channel: Channel, has_port: bool) -> None:
        """The channel is about to get another association: keep the one that it has, and note the port."""
        if channel.association is not None:
            channel.kept = Kept(channel.association, channel.relay, channel.watches, channel.has_port)
        channel.has_port = has_port
        channel.request_port = self.request_port(channel)

    def sent(self, channel: Channel) -> None:
        """A datagram from the queue has been sent."""
        if channel.request_port is not None:
            channel.request_port.sent(monotonic(), channel.has_port)

    def is_refused(self, channel: Channel) -> bool:
        """The second association cannot be opened: can the channel go on with the first?"""
        request = channel.request_port
        if request is not None:
            request.refused()
            self.settle(channel)
        return request is None or request.state != WITH_PORT

    def is_of_use(self, channel: Channel, association: Association, has_port: bool) -> bool:
        """Is ``association``, which has been opened for ``channel``, to be used?"""
        request, first = channel.request_port, channel.association
        if first is None or request is None:
            return first is None
        if association.relay == first.relay:
            # A relay that is one for all requests: an answer would not tell which request it is due to.
            request.refused()
        return request.is_wanted(monotonic()) == has_port

    def can_do_without(self, channel: Channel, association: Association) -> bool:
        """``association`` has ended: does the channel go on with its other one?"""
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
        """A datagram of the relay at ``source`` is for the program."""
        request, kept = channel.request_port, channel.kept
        if request is None:
            return
        if kept is not None and source == kept.relay:
            # Where both have one relay, nothing tells which request has made it answer.
            has_port = kept.has_port
        elif source == channel.relay:
            has_port = channel.has_port
        else:
            # Of an association that has ended.
            return
        was_known = request.is_known
        request.answered(has_port)
        if has_port and not was_known:
            hop = self._runtime.chains[channel.chain].proxies[0]
            self._runtime.messages.say(1, f"UDP: proxy {hop} answers only if the request carries our port")
        with self._runtime.registry.lock:
            self.settle(channel)

    def settle(self, channel: Channel) -> None:
        """If it is known what the hop wants, send through that association, and close the other one."""
        request = channel.request_port
        if request is None or not request.is_known:
            return
        kept = channel.kept
        if channel.has_port != (request.state == WITH_PORT):
            if kept is None:
                # The next datagram opens one.
                return
            now = Kept(channel.association, channel.relay, channel.watches, channel.has_port)  # type: ignore[arg-type]
            channel.kept = None
            channel.has_port, channel.watches = kept.has_port, kept.watches
            channel.association, channel.relay = kept.association, kept.relay
            self.close(channel, now)
        elif kept is not None:
            channel.kept = None
            self.close(channel, kept)
        if channel.task is None:
            channel.request_port = None

    def close(self, channel: Channel, kept: Kept) -> None:
        """Close ``kept``, which the channel does not have any more."""
        for task in kept.watches:
            # That closes the control connection as well.
            self._runtime.background.cancel(task)
        self._runtime.registry.disallow(kept.relay)
        if kept.relay != channel.relay:
            self._state.relays.pop(kept.relay, None)
