"""What becomes of a program's connections, in lines for the user, most of them with -v."""

from __future__ import annotations

import errno
from time import monotonic

from pywrap.messages import Messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Path
    from pywrap.errors import SocksError
    from pywrap.socks.wire import Endpoint


class Events(Messages):
    """``started`` is a moment of the monotonic clock."""

    def __init__(self, verbosity: int) -> None:
        super().__init__(verbosity)
        self._said_no_udp = False
        self._said_no_bind = False

    def connected(self, destination: Endpoint, path: Path, started: float) -> None:
        """A tunnel stands."""
        self.say(1, f"{destination} via {_list(path)}: connected in {_milliseconds(started)}")

    def failed(self, destination: Endpoint, error: SocksError) -> None:
        """A tunnel failed: the program sees no more than an errno of it."""
        self.say(1, f"{destination} failed: {error}")

    def associated(self, path: Path, started: float) -> None:
        """A UDP association stands."""
        self.say(1, f"UDP via {_list(path)}: associated in {_milliseconds(started)}")

    def no_association(self, error: SocksError) -> None:
        """There is no UDP: said once without -v where the proxy has none."""
        once = error.errno == errno.EOPNOTSUPP and not self._said_no_udp
        self._said_no_udp = self._said_no_udp or once
        self.say(0 if once else 1, f"no UDP: {error}")

    def listens(self, place: Endpoint, path: Path) -> None:
        """The last proxy listens for the program."""
        self.say(1, f"listening at {place} via {_list(path)}")

    def failed_listening(self, error: SocksError) -> None:
        """Nobody will come: said once without -v where the proxy has no BIND."""
        once = error.errno == errno.EOPNOTSUPP and not self._said_no_bind
        self._said_no_bind = self._said_no_bind or once
        self.say(0 if once else 1, f"listening failed: {error}")

    def lapsed(self, error: SocksError) -> None:
        """A port that stood is no more, and nobody has come to it."""
        self.say(1, f"{error}: asking for another port")

    def alone(self, place: Endpoint, only: str) -> None:
        """Nobody came to ``place``, and others than ``only`` may have been sent away."""
        self.say(1, f"nobody came to {place}, which was for {only} only (for others: --bind-peer any)")

    def accepted(self, peer: Endpoint, path: Path) -> None:
        """Somebody came."""
        self.say(1, f"{peer} via {_list(path)}: accepted")


def _list(path: Path) -> str:
    return ", ".join(str(hop) for hop in path)


def _milliseconds(started: float) -> str:
    return f"{(monotonic() - started) * 1000:.0f} ms"
