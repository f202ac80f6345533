"""Several processes that serve the same ports (SO_REUSEPORT), and the one that starts them.

The kernel spreads connections over them by their addresses. Each has its own limits, counters and log lines.
The parent keeps the ports, bound and not listening, so that a worker which is started again gets them; it
passes signals on, and holds no connection.
"""

from __future__ import annotations

import os
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

# A worker that ends without being told is started again, but not at once for ever.
_PAUSE = 1.0

# Exit status of a worker that is configured such that it cannot serve (EX_CONFIG of sysexits.h).
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

    ``listen``, and so ``addresses``: without TLS and with it, as ``tell`` gets them before the first process
    starts. Returns the exit status: 1 when a worker says
    that it cannot serve so.

    Raises:
        ConfigError: an address cannot be listened on.
    """
    held = [[sock for host, port in each for sock in _bind(host, port)] for each in listen]
    plain, tls = (tuple((sock.getsockname()[0], sock.getsockname()[1]) for sock in socks) for socks in held)
    addresses = plain, tls
    # From here on signals wait until they are asked for.
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    children = {_start(number, addresses, serve): number for number in range(count)}
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
            if status == _HOPELESS:
                # It has said why, and another one would say the same.
                if not stopping:
                    for other in children:
                        os.kill(other, signal.SIGINT)
                stopping, result = True, 1
            if not stopping:
                log.warning(f"worker {pid} ended with status {status}, and is started again")
                sleep(_PAUSE)
                children[_start(worker, addresses, serve)] = worker
    for sock in (*held[0], *held[1]):
        sock.close()
    return result


def _start(
    number: int, addresses: tuple[Listen, Listen], serve: Callable[[tuple[Listen, Listen], int], None]
) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
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
