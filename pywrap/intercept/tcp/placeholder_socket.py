"""The socket that a program holds while its connection is opened: neither readable nor writable.

It has nothing to do with the placeholder *addresses* that stand for names (``tunnel.placeholders``).
"""

from __future__ import annotations

import _socket

from pywrap.intercept import originals
from pywrap.intercept.own_socket import Own, own

_FILLING = bytes(1 << 16)


def placeholder() -> tuple[Own, Own]:
    """A socketpair whose first end is neither readable nor writable, as a socket that is connecting."""
    kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK | _socket.SOCK_CLOEXEC
    near, far = map(own, originals.socketpair(_socket.AF_UNIX, kind))
    # The smallest buffer that the kernel allows, since each placeholder fills its buffer.
    near.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1)
    # More bytes than fit: a non-blocking socket takes as many as it has room for.
    near.send(_FILLING)
    return near, far
