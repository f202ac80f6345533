"""The interface to systemd: listening sockets from it (sd_listen_fds(3)), states to it (sd_notify(3)).

Without its library: both are environment variables, and a state is one datagram.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6, AF_UNIX, SO_ACCEPTCONN, SOCK_CLOEXEC, SOCK_DGRAM, SOL_SOCKET, socket
from time import CLOCK_MONOTONIC, clock_gettime_ns

from pywrap.errors import ConfigError

_FIRST = 3


def inherited_sockets() -> list[socket]:
    """The listening sockets of a ``.socket`` unit; [] at a second call, or when they are for another process.

    Raises:
        ConfigError: one of them is not a TCP socket that listens.
    """
    count, pid = os.environ.pop("LISTEN_FDS", ""), os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or pid != str(os.getpid()):
        return []
    sockets = []
    for fd in range(_FIRST, _FIRST + int(count)):
        if not _listens(fd):
            raise ConfigError(f"descriptor {fd} of $LISTEN_FDS is no TCP socket that listens")
        os.set_inheritable(fd, False)
        sockets.append(socket(fileno=fd))
    return sockets


def _listens(fd: int) -> bool:
    try:
        sock = socket(fileno=fd)
    except OSError:
        return False
    try:
        return sock.family in (AF_INET, AF_INET6) and bool(sock.getsockopt(SOL_SOCKET, SO_ACCEPTCONN))
    finally:
        sock.detach()


def notify(*lines: str) -> None:
    """Send ``lines``, such as "READY=1", to the service manager, if there is one."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path.startswith(("/", "@")):
        return
    sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
    try:
        # unix(7): @ stands for the NUL at the beginning of an abstract address.
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.send("\n".join(lines).encode())
    except OSError:
        # The manager is gone, or does not listen: the server goes on without it.
        pass
    finally:
        sock.close()


def reloading() -> tuple[str, str]:
    """The state of a service of type notify-reload that reads its configuration again."""
    return "RELOADING=1", f"MONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}"
