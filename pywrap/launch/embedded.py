"""The bundled server, for one run: started before the program, and gone when that is.

Not a child of the program, which would find it in wait(2), nor of its terminal's process group, where a
Ctrl-C would end it first. It watches a pidfd of the program instead, since the exec keeps the pid.
"""

from __future__ import annotations

import os

from pywrap.config.settings import Proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pywrap.server.server import Server


def start(verbosity: int) -> Proxy:
    """Start the server on loopback; return the proxy that it is.

    Other users of the machine can reach the port: it asks for a password that only this run knows.

    Raises:
        OSError: no socket, no process.
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
            # Whoever reads the program's output waits until everybody has closed it.
            for fd in (0, 1) if verbosity >= 1 else (0, 1, 2):
                os.dup2(null, fd)
            server.stop_when_readable(program)
            server.run()
        status = 0
    finally:
        os._exit(status)
