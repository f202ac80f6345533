"""One tunnel for a program that tries a name by both families.

A name has a placeholder of each, and both lead to the same: the last proxy resolves it. A program that races
them (happy eyeballs, RFC 8305: curl, Go, Node, Chromium) connects to the second when the first has not
answered in 200 to 300 ms, and Tor hardly ever has; others try the second when the first has failed. Each
would be one more tunnel to the same host. So a request whose twin of the other family is under way waits:

* the twin has failed: the same answer, also when the request comes a moment later;
* the twin stands: none. A program that races closes the loser at once. One that does want both has its SYN
  repeated after a second, and is then asked for. But where the twin is not wanted any more (Node closes the
  first socket when it turns to the second), the request gets its tunnel;
* the twin is given up: the request is asked for in its place.
"""

from __future__ import annotations

from time import monotonic

from pywrap.confine.syn_gate import EXHAUSTED, SILENT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.confine.syn_gate import Request
    from pywrap.socks.wire import Endpoint

# Seconds in which a program goes on to the second address after the first has failed.
MOMENT = 1.0
# Failures that are remembered.
_MOST = 1024


class Twins:
    """``ask(request)`` opens a tunnel for it; ``stands(request, twin)``: the tunnel of the former stands."""

    def __init__(self, ask: Callable[[Request], None], stands: Callable[[Request, Request], None]) -> None:
        self._ask = ask
        self._stands = stands
        # Requests under way that have no twin yet, and the twin of each that has one.
        self._single: dict[Endpoint, list[Request]] = {}
        self._twins: dict[Request, Request] = {}
        # When, of which family (its addresses' bytes), and the errno.
        self._failed: dict[Endpoint, tuple[float, int, int]] = {}

    def wait(self, request: Request, destination: Endpoint) -> bool:
        """Tell whether ``request`` waits for another one, or was answered as that was.

        Otherwise it is under way from now on, until one of the other methods is called.
        """
        size = len(request.syn.source)
        # It answers one request: a program that tries again means it.
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
        """The tunnel of ``request`` stands."""
        twin = self._end(request, destination)
        if twin is not None:
            self._stands(request, twin)

    def failed(self, request: Request, destination: Endpoint, number: int) -> None:
        """There is no tunnel for ``request``, for the reason of that errno."""
        twin = self._end(request, destination)
        if twin is not None:
            twin.refuse(number)
        elif number not in SILENT and number not in EXHAUSTED:
            # Not what is answered by silence, for which a program would wait once more, nor our own trouble.
            if len(self._failed) >= _MOST:
                self._failed.clear()
            self._failed[destination] = monotonic(), len(request.syn.source), number

    def given_up(self, request: Request, destination: Endpoint) -> None:
        """The program does not want ``request`` any more."""
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
