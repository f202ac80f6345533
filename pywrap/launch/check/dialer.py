"""Runs dialogues with a proxy for ``--check``, through the proxies before it, in the calling thread."""

from __future__ import annotations

import select
import socket
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic

from pywrap.config.settings import Settings
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.attempt import TunnelAttempt, wait_for
from pywrap.tunnel.chain import handshake
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.first_hop import FirstHop
from pywrap.tunnel.strict_policy import Attempt, SingleAttempt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any, TypeVar

    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue

    T = TypeVar("T")


class Dialer:
    """Connects to the last proxy of ``path``. ``patience``: seconds for connecting and a dialogue."""

    def __init__(self, path: tuple[Proxy, ...], patience: float) -> None:
        self.path = path
        self.patience = patience
        # The moment of the monotonic clock at which the present connection was begun, its name being
        # resolved.
        self.started = 0.0
        self._first = FirstHop(path[0], self._getaddrinfo)

    @contextmanager
    def talk(
        self, dialogue: Dialogue[T], patience: float | None = None
    ) -> Generator[tuple[socket.socket, T], None, None]:
        """Connect through the hops, and run ``dialogue`` with the last; the connection is open in the block.

        Yields the socket and the result of ``dialogue``.

        Raises:
            SocksError: see ``pywrap.errors``.
        """
        results: list[T] = []

        def whole() -> Dialogue[Endpoint]:
            yield from self._approach()
            results.append((yield from dialogue))
            return Endpoint("", 0)

        address = self._first.addresses()[0]
        with socket.socket(address.family) as sock:
            sock.setblocking(False)
            self.started = monotonic()
            only = SingleAttempt(Attempt(self.path, self._first, whole))
            attempt = TunnelAttempt(sock, only, Deadline(Settings(timeout=patience or self.patience)))
            connected = wait_for(attempt, select.poll)
            assert isinstance(connected, socket.socket), "it is ours, or one like it"
            with connected:
                yield connected, results[0]

    def ask(self, dialogue: Dialogue[T], patience: float | None = None) -> T:
        """Run ``dialogue`` as ``talk`` does, close the connection, and return the result.

        Raises:
            SocksError: see ``pywrap.errors``.
        """
        with self.talk(dialogue, patience) as (_, answer):
            return answer

    def _approach(self) -> Dialogue[None]:
        if len(self.path) > 1:
            last = self.path[-1]
            yield from handshake(self.path[:-1], Endpoint(last.host, last.port))

    def _getaddrinfo(self, *what: Any) -> list[Any]:
        """socket.getaddrinfo() in a thread, with our timeout: its own is minutes, or none.

        Raises:
            OSError: the name is not resolved, or not in time (EAI_AGAIN).
        """
        answers: SimpleQueue[list[Any] | OSError] = SimpleQueue()

        def look_up() -> None:
            try:
                answers.put(list(socket.getaddrinfo(*what)))
            except OSError as err:
                answers.put(err)

        Thread(target=look_up, daemon=True).start()
        try:
            answer = answers.get(timeout=self.patience)
        except Empty:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer in time") from None
        if isinstance(answer, OSError):
            raise answer
        return answer
