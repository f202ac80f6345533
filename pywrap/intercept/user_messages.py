"""Messages for the user about the program's connections, most of them with -v."""

from __future__ import annotations

import errno
from time import monotonic

from pywrap.messages import Messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Path
    from pywrap.errors import SocksError
    from pywrap.intercept.call_recorder import Recorder
    from pywrap.socks.wire import Endpoint


class Events(Messages):
    """``started``: seconds of the monotonic clock. ``log``: gets the lines of listeners; None without one."""

    def __init__(self, verbosity: int) -> None:
        super().__init__(verbosity)
        self._said_no_udp = False
        self._said_no_bind = False
        self.log: Recorder | None = None

    def connected(self, destination: Endpoint, path: Path, started: float) -> None:
        """Report that a tunnel is open."""
        if self.verbosity >= 1:
            self.say(1, f"{destination} via {_list(path)}: connected in {_milliseconds(started)}")

    def failed(self, destination: Endpoint, error: SocksError) -> None:
        """Report why a tunnel failed; the program itself sees the errno only."""
        self.say(1, f"{destination} failed: {error}")

    def associated(self, path: Path, started: float) -> None:
        """Report that a UDP association is open."""
        self.say(1, f"UDP via {_list(path)}: associated in {_milliseconds(started)}")

    def no_association(self, error: SocksError) -> None:
        """Report that a UDP association failed; once also without -v, if the proxy has no UDP."""
        once = error.errno == errno.EOPNOTSUPP and not self._said_no_udp
        self._said_no_udp = self._said_no_udp or once
        self.say(0 if once else 1, f"no UDP: {error}")

    def listens(self, place: Endpoint, path: Path) -> None:
        """Report that the last proxy of ``path`` listens for the program at ``place``."""
        self.say(1, f"listening at {place} via {_list(path)}")
        if self.log is not None:
            self.log.listens(place, path)

    def failed_listening(self, error: SocksError) -> None:
        """Report that the proxy does not listen; once also without -v, if it has no BIND."""
        once = error.errno == errno.EOPNOTSUPP and not self._said_no_bind
        self._said_no_bind = self._said_no_bind or once
        self.say(0 if once else 1, f"listening failed: {error}")
        if self.log is not None:
            self.log.does_not_listen(error)

    def lapsed(self, error: SocksError) -> None:
        """Report that the proxy closed a port before a peer connected to it."""
        self.say(1, f"{error}: asking for another port")

    def alone(self, place: Endpoint, only: str) -> None:
        """Report that no peer connected to ``place``: the proxy may have refused all peers but ``only``."""
        self.say(1, f"no peer came to {place}, which was for {only} only (for others: --bind-peer any)")

    def accepted(self, peer: Endpoint, path: Path) -> None:
        """Report that ``peer`` has connected to the port at the last proxy of ``path``."""
        self.say(1, f"{peer} via {_list(path)}: accepted")
        if self.log is not None:
            self.log.accepted(peer, path)


def _list(path: Path) -> str:
    return ", ".join(str(hop) for hop in path)


def _milliseconds(started: float) -> str:
    return f"{(monotonic() - started) * 1000:.0f} ms"
