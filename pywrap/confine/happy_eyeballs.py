"""One tunnel for a program that tries a name by both families.

A name has a placeholder of each family, and both lead to the same host: the last proxy resolves the name. A
program with happy eyeballs (RFC 8305: curl, Go, Node, Chromium) connects to the second address when the first
has not answered within 200 to 300 ms, in which Tor hardly ever answers; others try the second when the first
has failed. Each attempt would be one more tunnel to the same host. So a request waits while its twin, the
request by the other family, is under way:

* the twin fails: the request gets the same answer, also when it comes a moment later;
* the twin succeeds: the request gets no answer. A program with happy eyeballs closes the loser at once. For
  one that wants both connections, the kernel repeats the SYN after a second, and the request then gets a
  tunnel of its own. But if the program has closed the twin (Node closes the first socket when it turns to the
  second), the request gets the tunnel of the twin;
* the program gives up the twin: a tunnel is opened for the request in its place.
"""

from __future__ import annotations

from time import monotonic

from pywrap.confine.syn_gate import EXHAUSTED, SILENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.confine.syn_gate import Request
    from pywrap.socks.wire import Endpoint

# Seconds within which a program tries the second address after the first has failed.
MOMENT = 1.0
# How many failures are remembered.
_MOST = 1024


class Twins:
    """``ask(request)`` opens its tunnel; ``stands(request, twin)``: the tunnel of ``request`` is open."""

    def __init__(self, ask: Callable[[Request], None], stands: Callable[[Request, Request], None]) -> None:
        self._ask = ask
        self._stands = stands
        # Requests under way that have no twin yet, and the twin of each that has one.
        self._single: dict[Endpoint, list[Request]] = {}
        self._twins: dict[Request, Request] = {}
        # For failures: the moment, the family (as the bytes of its addresses), and the errno.
        self._failed: dict[Endpoint, tuple[float, int, int]] = {}

    def wait(self, request: Request, destination: Endpoint) -> bool:
        """Whether ``request`` waits for its twin, or was answered as that was.

        If not, the request is under way from now on, until one of the other methods is called.
        """
        size = len(request.syn.source)
        # A remembered failure answers one request only: a program that tries again gets a new attempt.
        since, failed_size, number = self._failed.pop(destination, (0.0, size, 0))
        if failed_size != size and monotonic() - since < MOMENT:
            request.refuse(number)
            return True
        single = self._single.setdefault(destination, [])
        first = next((each for each in single if len(each.syn.source) != size), None)
        if first is None:
            single.append(request)
            return False
        self._leave(first, destination)
        self._twins[first] = request
        request.cancel = lambda: self._twin_given_up(first, destination)
        return True

    def stands(self, request: Request, destination: Endpoint) -> None:
        """Note that the tunnel of ``request`` is open."""
        twin = self._end(request, destination)
        if twin is not None:
            self._stands(request, twin)

    def failed(self, request: Request, destination: Endpoint, number: int) -> None:
        """Note that no tunnel can be opened for ``request``; ``number``: the errno."""
        twin = self._end(request, destination)
        if twin is not None:
            twin.refuse(number)
        elif number not in SILENT and number not in EXHAUSTED:
            # Not for answers by silence, for which a program would wait a second time, nor for our own
            # errors.
            if len(self._failed) >= _MOST:
                self._failed.clear()
            self._failed[destination] = monotonic(), len(request.syn.source), number

    def given_up(self, request: Request, destination: Endpoint) -> None:
        """Note that the program has given up ``request``."""
        twin = self._end(request, destination)
        if twin is not None:
            self._ask(twin)

    def _end(self, request: Request, destination: Endpoint) -> Request | None:
        self._leave(request, destination)
        twin = self._twins.pop(request, None)
        if twin is not None:
            twin.cancel = _nothing
        return twin

    def _leave(self, request: Request, destination: Endpoint) -> None:
        single = self._single.get(destination)
        if single is not None and request in single:
            single.remove(request)
            if not single:
                del self._single[destination]

    def _twin_given_up(self, first: Request, destination: Endpoint) -> None:
        del self._twins[first]
        self._single.setdefault(destination, []).append(first)


def _nothing() -> None:
    pass
