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
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol, TypeAlias

    from pywrap.intercept.udp.flow import Flow

    Method: TypeAlias = Callable[..., Any]

    class Place(Protocol):
        """``name`` among the ``attributes`` of the class that the methods stand in front of. ``known``: what
        is there, unless the program has put it there.
        """

        name: str
        attributes: Mapping[str, Any]
        known: Any


# Each of these makes two methods. ``place``: where the method stands; ``flows``: by the ids of sockets;
# ``general``: the method for everything else.


def sending(place: Place, flows: Mapping[int, Flow], general: Method) -> Method:
    """sendto(data, address), or send(data)."""
    name, of_program, c_sendto = place.name, place.attributes.get, originals.sendto
    count = 2 if name == "sendto" else 1

    def straight(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == count and not kwargs and of_program(name) is place.known:
            flow = flows.get(id(self))
            if flow is not None and type(args[0]) is bytes and len(args[0]) <= LONGEST_PAYLOAD:
                usual = flow.latest.usual
                try:
                    # Of a socket that is not connected through a chain the route is None, and not found.
                    front = usual.to[args[1] if count == 2 else flow.state.route]
                    c_sendto(self, front + args[0], usual.relay)
                    return len(args[0])
                except (BlockingIOError, TimeoutError):
                    raise
                except (KeyError, TypeError, OSError):
                    # An error is the same for the general method, which has words for it.
                    pass
        return general(self, *args, **kwargs)

    return straight


def receiving(place: Place, flows: Mapping[int, Flow], general: Method) -> Method:
    """recvfrom(size), or recv(size)."""
    name, of_program, c_recvfrom = place.name, place.attributes.get, originals.recvfrom
    has_source = name == "recvfrom"

    def straight(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and of_program(name) is place.known:
            flow = flows.get(id(self))
            size = args[0]
            if flow is not None and type(size) is int and size > 0:
                usual = flow.latest.usual
                handle = flow.kernel.handles.get(originals.fileno(self))
                if handle is None:
                    return general(self, size)
                try:
                    data, source = c_recvfrom(handle, size + flow.receiver.margin)
                except BlockingIOError:
                    if not originals.gettimeout(self) and flow.latest.usual.relay:
                        raise
                    # There is a time limit; or the file was shut down, and there is another error to raise.
                    return general(self, size)
                end = usual.size
                known = usual.sources.get(data[:end])
                if known is not None and source == usual.relay:
                    payload = data[end : end + size]
                    return (payload, known) if has_source else payload
                # Without a source, the file was shut down.
                found = flow.receiver.sort(data, source) if source is not None else None
                if found is not None:
                    return (found[0][:size], found[1]) if has_source else found[0][:size]
        return general(self, *args, **kwargs)

    return straight
