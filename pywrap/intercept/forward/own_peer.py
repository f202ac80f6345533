"""Whether a connection to one of our ports on loopback was made by this process."""

from __future__ import annotations

import _socket
import os

from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def is_ours(peer: tuple[Any, ...], here: tuple[Any, ...]) -> bool:
    """Whether this process has a descriptor of the IPv4 connection from ``peer`` to ``here``.

    No two sockets of a network namespace have the same pair of addresses. Connections of other processes,
    children included, are not served.
    """
    # From the highest descriptor down, since the newest is most likely the highest.
    for fd in sorted(map(int, os.listdir("/proc/self/fd")), reverse=True):
        try:
            # The flag: otherwise C would apply setdefaulttimeout() to the file's mode, of whatever it is.
            kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK
            sock = originals.Socket(_socket.AF_INET, kind, 0, fileno=fd)
        except OSError:
            # The descriptor is no socket, or closed by now.
            continue
        try:
            if originals.getsockname(sock) == peer and originals.getpeername(sock) == here:
                return True
        except OSError:
            # The socket is not connected.
            pass
        finally:
            sock.detach()
    return False
