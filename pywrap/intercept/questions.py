"""What hops are asked beside the program's connections, in the background.

Is one alive that keeps a connection waiting, and does one take a flight? ``Hops`` learn the answers.
"""

from __future__ import annotations

import _socket

from pywrap.frozen import replace
from pywrap.intercept.own import Own
from pywrap.tunnel.alive import PATIENCE, Question
from pywrap.tunnel.background import Task
from pywrap.tunnel.deadline import Deadline
from pywrap.tunnel.opening import Opening
from pywrap.tunnel.probe import HURRY, PassingProbe, Probe, unknown, unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from pywrap.config.settings import Proxy, Settings
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.plan import OneWay

    Path: TypeAlias = tuple[Proxy, ...]


class Questions:
    """``submit`` gives the background thread something to do."""

    def __init__(self, settings: Settings, hops: Hops, submit: Callable[[Task], None]) -> None:
        self._settings = settings
        self._hops = hops
        self._submit = submit

    def is_alive(self, path: Path) -> None:
        """Ask the last hop of ``path``, which keeps a connection waiting, whether it is alive."""
        self._ask(Question(self._hops, path), self._within(PATIENCE))

    def takes_flight(self, path: Path) -> None:
        """Ask the last hop of ``path``, which has answered no flight yet, whether it takes one."""
        self._ask(Probe(self._hops, path), self._within(HURRY))

    def learn(self, path: Path) -> None:
        """A connection stands through ``path``: ask, if need be, who takes the next one in a flight."""
        if self._settings.pipeline == "auto":
            for to_ask in unknown(self._hops, path):
                if not self._ask(Probe(self._hops, to_ask), Deadline(self._settings)):
                    # Another time.
                    self._hops.unused(to_ask[-1])
            for to_ask in unseen(self._hops, path):
                self._ask(PassingProbe(self._hops, to_ask), Deadline(self._settings))

    def _within(self, seconds: float) -> Deadline:
        """For what somebody waits for: so many seconds for each answer."""
        patience = min(self._settings.read_timeout or seconds, seconds)
        return Deadline(replace(self._settings, read_timeout=patience))

    def _ask(self, question: OneWay, deadline: Deadline) -> bool:
        sock = None
        try:
            sock = fresh()
            opening = Opening(sock, question, deadline)
            self._submit(Task(lambda: opening, lambda *_: end(opening)))
        except (OSError, RuntimeError):
            # No descriptor or no thread left.
            if sock is not None:
                sock.close()
            return False
        return True


def fresh() -> _socket.socket:
    """A socket to begin with; it becomes another where the proxy has no IPv4 (``dial.fit``)."""
    sock = Own(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    sock.setblocking(False)
    return sock


def end(opening: Opening) -> None:
    """Close ``opening``, which began on a ``fresh`` socket."""
    opening.abandon()
    # Its own is left, which is nobody else's here.
    opening.sock.close()
