"""Several processes that serve the same ports (SO_REUSEPORT), and their parent.

The kernel spreads connections over the workers by their addresses. Each worker has its own limits, counters
and log lines. The parent keeps the ports, bound and not listening, so that a worker that is started again
gets them; it passes signals on, and has no connections. When the parent is killed, its workers end as after
SIGTERM, since nothing would pass signals on to them.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import sys
import traceback
from _socket import (
    AF_INET6,
    IPPROTO_IPV6,
    IPV6_V6ONLY,
    SO_REUSEADDR,
    SO_REUSEPORT,
    SOCK_STREAM,
    SOL_SOCKET,
    getaddrinfo,
    socket,
)
from time import sleep

from pywrap.errors import ConfigError, counted
from pywrap.server import systemd
from pywrap.socks.wire import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pywrap.server.stderr_log import Log

    Listen = tuple[tuple[str, int], ...]

# Seconds before a worker that ended without a signal of its parent is started again.
_PAUSE = 1.0

# The exit status of a worker that cannot serve with its configuration (EX_CONFIG of sysexits.h).
_HOPELESS = 78

_PASSED_ON = {signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT}
_WAITED_FOR = {*_PASSED_ON, signal.SIGCHLD}


def supervise(
    count: int,
    listen: tuple[Listen, Listen],
    serve: Callable[[tuple[Listen, Listen], int], None],
    log: Log,
    tell: Callable[[list[Endpoint], list[Endpoint]], None],
) -> int:
    """Run ``count`` processes that call ``serve(addresses, number)`` until SIGTERM or SIGINT.

    ``listen``, and so ``addresses``: those without TLS, and those with it. ``tell`` is called with both, with
    the ports that were chosen. Returns the exit status: 1 when a worker cannot serve with its configuration.

    Raises:
        ConfigError: an address cannot be listened on.
    """
    held = [[sock for host, port in each for sock in _bind(host, port)] for each in listen]
    plain, tls = (tuple((sock.getsockname()[0], sock.getsockname()[1]) for sock in socks) for socks in held)
    addresses = plain, tls
    # From here on signals are blocked: they wait until sigtimedwait(2) takes them.
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    # By worker: the end of a pipe that this process alone keeps, so that the kernel closes it when this
    # process ends.
    kept: dict[int, int] = {}
    children = {_start(number, addresses, serve, kept): number for number in range(count)}
    tell([Endpoint(*address) for address in plain], [Endpoint(*address) for address in tls])
    log.note(f"{counted(count, 'worker')}: {', '.join(map(str, children))}")
    systemd.notify("READY=1", f"STATUS={counted(count, 'worker')}")
    stopping, result = False, 0
    while children:
        number = signal.sigwait(_WAITED_FOR)
        if number in _PASSED_ON:
            if number in (signal.SIGTERM, signal.SIGINT) and not stopping:
                stopping = True
                systemd.notify("STOPPING=1")
            for pid in children:
                os.kill(pid, number)
        for pid, status in _ended(children):
            worker = children.pop(pid)
            os.close(kept.pop(pid))
            if status == _HOPELESS:
                # The worker has printed the reason, and another one would fail for the same reason.
                if not stopping:
                    for other in children:
                        os.kill(other, signal.SIGINT)
                stopping, result = True, 1
            if not stopping:
                log.warning(f"worker {pid} ended with status {status}, and is started again")
                sleep(_PAUSE)
                children[_start(worker, addresses, serve, kept)] = worker
    for sock in (*held[0], *held[1]):
        sock.close()
    return result


def _start(
    number: int,
    addresses: tuple[Listen, Listen],
    serve: Callable[[tuple[Listen, Listen], int], None],
    kept: dict[int, int],
) -> int:
    alive, own = os.pipe()
    pid = os.fork()
    if pid:
        os.close(alive)
        kept[pid] = own
        return pid
    status = 1
    try:
        for end in (own, *kept.values()):
            os.close(end)
        _end_with_parent(alive)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        serve(addresses, number)
        status = 0
    except ConfigError as err:
        sys.stderr.write(f"pysocksd: error: {err}\n")
        status = _HOPELESS
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _end_with_parent(alive: int) -> None:
    """Have the kernel send SIGTERM when the parent ends: nothing holds the other end of ``alive`` then."""
    fcntl.fcntl(alive, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(alive, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(alive, fcntl.F_SETFL, fcntl.fcntl(alive, fcntl.F_GETFL) | fcntl.FASYNC)
    watched = select.poll()
    watched.register(alive, 0)
    if watched.poll(0):
        # It has ended already.
        os.kill(os.getpid(), signal.SIGTERM)


def _ended(children: dict[int, int]) -> Sequence[tuple[int, int]]:
    ended = []
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended.append((pid, os.waitstatus_to_exitcode(status)))
    return ended


def _bind(host: str, port: int) -> list[socket]:
    socks: list[socket] = []
    try:
        for family, _, _, _, address in getaddrinfo(host, port, 0, SOCK_STREAM):
            sock = socket(family, SOCK_STREAM)
            socks.append(sock)
            sock.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
            sock.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
            if family == AF_INET6:
                sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
            sock.bind(address)
    except OSError as err:
        for sock in socks:
            sock.close()
        raise ConfigError(f"cannot listen on {Endpoint(host, port)}: {err.strerror or err}") from err
    return socks
