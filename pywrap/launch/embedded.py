"""The bundled server for one run: it is started before the program, and ends with it.

It is no child of the program, whose wait(2) would otherwise return it. It is not in the process group of the
terminal, where a Ctrl-C would end it before the program. It watches a pidfd of this process, which becomes
the program by an exec.
"""

from __future__ import annotations

import os

from pywrap.config.settings import Proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pywrap.server.server import Server


def start(verbosity: int) -> Proxy:
    """Start the server on loopback; return it as a ``Proxy``.

    Other users of the machine can reach its port, so it has a random password, which only this run knows.

    Raises:
        OSError: no socket or no process is left.
    """
    from pywrap.server.server import Server

    username, password = b"pysocksify", os.urandom(16).hex().encode()
    server = Server([("127.0.0.1", 0)], users={username: password})
    address = server.addresses[0]
    program = os.pidfd_open(os.getpid())
    child = os.fork()
    if child == 0:
        _detach(server, program, verbosity)
    os.close(program)
    server.close()
    os.waitpid(child, 0)
    return Proxy("socks5h", address.host, address.port, username, password)


def _detach(server: Server, program: int, verbosity: int) -> NoReturn:
    """In the child: leave the session, leave the parent, serve until the program ends."""
    status = 1
    try:
        os.setsid()
        if os.fork() == 0:
            null = os.open(os.devnull, os.O_RDWR)
            # A reader of the program's output sees the end of the pipe only when this process has closed it
            # too.
            for fd in (0, 1) if verbosity >= 1 else (0, 1, 2):
                os.dup2(null, fd)
            server.stop_when_readable(program)
            server.run()
        status = 0
    finally:
        os._exit(status)
