"""The straight road: a datagram to where one was sent before, or an answer that begins as one did before.

Most programs send to one destination or a few, and what stands before the payload is the same each time. A
channel keeps that (``channel.Usual``), as the general methods (``datagram_methods``) have made or seen it. So
a datagram takes one look-up, by its address or by its first bytes, and one system call. What is not found, or
is not quite as usual (flags, a buffer that is not bytes, a time limit, an error), is for the general methods:
nothing has been sent by then, and what was received is for ``receive`` to sort.

``Usual`` is thrown away as a whole when anything changes that it depends on: the association, the peer, the
file, the owner of a port. Who adds to it takes hold of it *first*, and looks at what it depends on then: so
what was found out before the change is added to what was thrown away. That needs no lock. A datagram that was
on this road at that moment is lost, as one that was sent a moment before.
"""

from __future__ import annotations

from pywrap.intercept import originals
from pywrap.socks.datagram import LONGEST_PAYLOAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol, TypeAlias

    from pywrap.intercept.udp.flow import Flow
    from pywrap.intercept.udp.flow_state import SockAddr

    Method: TypeAlias = Callable[..., Any]

    class Place(Protocol):
        """A name of the class that the methods stand in front of. ``known``: what ``attributes`` has there,
        unless the program has put it there.
        """

        attributes: Mapping[str, Any]
        known: Any


# Each of these makes a method. ``place``: where it stands; ``flows``: by the ids of sockets; ``general``: the
# method for everything else.


def sendto(place: Place, flows: Mapping[int, Flow], general: Method) -> Method:
    """sendto(data, address)."""
    of_program = place.attributes.get

    def straight(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 2 and not kwargs and of_program("sendto") is place.known:
            flow = flows.get(id(self))
            if flow is not None and _send(self, flow, args[0], args[1]):
                return len(args[0])
        return general(self, *args, **kwargs)

    return straight


def send(place: Place, flows: Mapping[int, Flow], general: Method) -> Method:
    """send(data)."""
    of_program = place.attributes.get

    def straight(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and of_program("send") is place.known:
            flow = flows.get(id(self))
            # Connected through a chain: the route; otherwise None, by which nothing is found.
            if flow is not None and _send(self, flow, args[0], flow.state.route):
                return len(args[0])
        return general(self, *args, **kwargs)

    return straight


def _send(sock: _socket.socket, flow: Flow, data: Any, address: Any) -> bool:
    """Send ``data``, if a datagram has gone to ``address`` before. Has it been sent?"""
    usual = flow.latest.usual
    try:
        front = usual.to[address]
        if type(data) is not bytes or len(data) > LONGEST_PAYLOAD:
            return False
        originals.sendto(sock, front + data, usual.relay)
    except (BlockingIOError, TimeoutError):
        raise
    except (KeyError, TypeError, OSError):
        # An error is the same for the general method, which has words for it.
        return False
    return True


def recvfrom(place: Place, flows: Mapping[int, Flow], general: Method) -> Method:
    """recvfrom(size)."""
    of_program = place.attributes.get

    def straight(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and of_program("recvfrom") is place.known:
            flow = flows.get(id(self))
            if flow is not None:
                found = _receive(self, flow, args[0])
                if found is not None:
                    return found
        return general(self, *args, **kwargs)

    return straight


def recv(place: Place, flows: Mapping[int, Flow], general: Method) -> Method:
    """recv(size)."""
    of_program = place.attributes.get

    def straight(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and of_program("recv") is place.known:
            flow = flows.get(id(self))
            if flow is not None:
                found = _receive(self, flow, args[0])
                if found is not None:
                    return found[0]
        return general(self, *args, **kwargs)

    return straight


def _receive(sock: _socket.socket, flow: Flow, size: Any) -> tuple[bytes, SockAddr] | None:
    """A datagram for the program; None where the general method has to look."""
    usual = flow.latest.usual
    handle = flow.kernel.handles.get(originals.fileno(sock))
    if handle is None or type(size) is not int or size <= 0:
        return None
    try:
        data, source = originals.recvfrom(handle, size + flow.receiver.margin)
    except BlockingIOError:
        if not originals.gettimeout(sock) and flow.latest.usual.relay:
            raise
        # There is a time limit; or the file was shut down, and there is another error to raise.
        return None
    if source == usual.relay:
        end = usual.size
        known = usual.sources.get(data[:end])
        if known is not None:
            return data[end : end + size], known
    if source is None:
        # The file was shut down.
        return None
    found = flow.receiver.sort(data, source)
    return None if found is None else (found[0][:size], found[1])
