"""GSSAPI contexts for hops: a thread asks the KDC, since a silent KDC would stop all programs."""

from __future__ import annotations

import _socket

from pywrap.errors import SocksError
from pywrap.socks.wire import Establish, Pending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from pywrap.relay.securing import Securing
    from pywrap.server.tcp.dial import Resolver
    from pywrap.socks.wire import Aside


class Tickets:
    """Takes the steps of ``securing``, and also makes contexts, in the threads of ``resolver``."""

    def __init__(self, securing: Securing, resolver: Resolver) -> None:
        self._securing = securing
        self._resolver = resolver

    def take(self, step: Aside, sock: socket) -> socket:
        """Do ``step`` on the connection ``sock``; return the socket to go on with, which owns the connection.

        Raises:
            SocksError: the step has failed.
            Pending: the step is not done yet, and has to be taken again.
        """
        if not isinstance(step, Establish):
            return self._securing.take(step, sock)
        if not step.is_begun:
            step.is_begun = True
            raise Pending(self._ask(step))
        if step.error is not None:
            raise step.error
        return sock

    def _ask(self, step: Establish) -> socket:
        near, far = _socket.socketpair()
        near.setblocking(False)

        def establish() -> SocksError | None:
            try:
                self._securing.establish(step)
            except SocksError as err:
                return err
            return None

        def established(answer: SocksError | OSError | None) -> None:
            if isinstance(answer, OSError):
                answer = SocksError(f"GSSAPI: {answer.strerror}")
            step.error = answer
            far.close()

        self._resolver.run(establish, established)
        return near
