"""The methods of a socket that listens at a proxy, in front of C's.

The program's descriptor is the connection to the proxy, which will become the connection to the peer. Without
these methods send() and recv() would reach the proxy, and shutdown() would end that connection. While a
socket listens, it is of a class derived from its own (``derived_class``).
"""

from __future__ import annotations

import errno
import os

from pywrap.intercept import originals
from pywrap.intercept.derived_class import Classes
from pywrap.intercept.patching import with_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry

# The errnos of the kernel for these calls on a listening socket.
_REFUSED = {
    **dict.fromkeys(("send", "sendall", "sendmsg", "sendto"), errno.EPIPE),
    **dict.fromkeys(
        ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"), errno.ENOTCONN
    ),
}


def listener_classes(registry: SocketRegistry) -> Classes:
    """The classes of the listeners in ``registry``."""
    return Classes(registry.roots, with_state(_members, _registry=registry))


def _members(base: Any, *, _registry: SocketRegistry) -> dict[str, Any]:
    """The members of the class derived from ``base``."""
    shared = {"_registry": _registry}
    members = {"shutdown": with_state(_shutdown, base.shutdown, _base=base, **shared)}
    for name, number in _REFUSED.items():
        of_c = getattr(base, name)
        members[name] = with_state(_refuse, of_c, _method=of_c, _errno=number, **shared)
    return members


def _refuse(
    self: _socket.socket, *args: Any, _registry: SocketRegistry, _method: Any, _errno: int, **kwargs: Any
) -> Any:
    """A method that sends or receives: ``_errno`` on a listener, ``_method`` on any other socket."""
    if _registry.listener_of(originals.fileno(self)) is None:
        return _method(self, *args, **kwargs)
    raise OSError(_errno, os.strerror(_errno))


def _shutdown(self: _socket.socket, how: int, /, *, _registry: SocketRegistry, _base: Any) -> None:
    """shutdown() of the listener; that of C would end the connection to the proxy."""
    with _registry.lock:
        listener = _registry.listener_of(originals.fileno(self))
        if listener is None:
            _base.shutdown(self, how)
        else:
            listener.shutdown(self, how)
