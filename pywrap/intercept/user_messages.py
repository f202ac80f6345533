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
    """``started`` is in seconds of the monotonic clock. ``log``: told of listeners; None without a log."""

    def __init__(self, verbosity: int) -> None:
        super().__init__(verbosity)
        self._said_no_udp = False
        self._said_no_bind = False
        self.log: Recorder | None = None

    def connected(self, destination: Endpoint, path: Path, started: float) -> None:
        """A tunnel is open."""
        if self.verbosity >= 1:
            self.say(1, f"{destination} via {_list(path)}: connected in {_milliseconds(started)}")

    def failed(self, destination: Endpoint, error: SocksError) -> None:
        """A tunnel failed, of which the program sees the errno only."""
        self.say(1, f"{destination} failed: {error}")

    def associated(self, path: Path, started: float) -> None:
        """A UDP association is open."""
        self.say(1, f"UDP via {_list(path)}: associated in {_milliseconds(started)}")

    def no_association(self, error: SocksError) -> None:
        """A UDP association failed. Printed once without -v, if the proxy has no UDP."""
        once = error.errno == errno.EOPNOTSUPP and not self._said_no_udp
        self._said_no_udp = self._said_no_udp or once
        self.say(0 if once else 1, f"no UDP: {error}")

    def listens(self, place: Endpoint, path: Path) -> None:
        """The last proxy listens for the program at ``place``."""
        self.say(1, f"listening at {place} via {_list(path)}")
        if self.log is not None:
            self.log.listens(place, path)

    def failed_listening(self, error: SocksError) -> None:
        """The proxy does not listen. Printed once without -v, if it has no BIND."""
        once = error.errno == errno.EOPNOTSUPP and not self._said_no_bind
        self._said_no_bind = self._said_no_bind or once
        self.say(0 if once else 1, f"listening failed: {error}")
        if self.log is not None:
            self.log.does_not_listen(error)

    def lapsed(self, error: SocksError) -> None:
        """The proxy has closed a port before a peer connected to it."""
        self.say(1, f"{error}: asking for another port")

    def alone(self, place: Endpoint, only: str) -> None:
        """No peer connected to ``place``; the proxy may have refused all peers but ``only``."""
        self.say(1, f"no peer came to {place}, which was for {only} only (for others: --bind-peer any)")

    def accepted(self, peer: Endpoint, path: Path) -> None:
        """A peer has connected to a port at the proxy."""
        self.say(1, f"{peer} via {_list(path)}: accepted")
        if self.log is not None:
            self.log.accepted(peer, path)


def _list(path: Path) -> str:
    return ", ".join(str(hop) for hop in path)


def _milliseconds(started: float) -> str:
    return f"{(monotonic() - started) * 1000:.0f} ms"
