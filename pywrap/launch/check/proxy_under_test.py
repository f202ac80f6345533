"""The proxy that is tested: how it is reached, and what earlier tests have found out for later ones."""

from __future__ import annotations

from pywrap.launch.check import hop_requests
from pywrap.launch.check.destination import destinations
from pywrap.launch.check.dialer import Dialer
from pywrap.launch.check.report import Report
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy
    from pywrap.launch.check.destination import Listener
    from pywrap.launch.check.report import Finding
    from pywrap.socks.wire import Dialogue


class ProxyUnderTest:
    """The last of ``path``, through those before it.

    ``patience``: seconds for each test. ``target``: a destination that it can reach, or None. ``listener``:
    the destination of ours.
    """

    def __init__(
        self, path: tuple[Proxy, ...], patience: float, target: Endpoint | None, listener: Listener
    ) -> None:
        self.report = Report(path)
        self.path = path
        self.hop = path[-1]
        self.dialer = Dialer(path, patience)
        self.target = target
        self.listener = listener
        self.destinations = destinations(path, self.hop.host, target, listener)
        # Our end and the first hop's of a connection between them.
        self.here = self.there = ""
        # What it picks when it is offered all that we have.
        self.method = v5.NO_AUTHENTICATION
        # Has it granted a connection that was none? Others wait for the grant alone, and would believe it.
        self.granted_in_vain = False

    @property
    def is_socks5(self) -> bool:
        """Whether the hop speaks SOCKS5."""
        return hop_requests.is_socks5(self.hop)

    @property
    def exits_here(self) -> bool:
        """Was it seen to reach this machine, where nothing stands in the way?

        Being on loopback is not enough: `ssh -D` and others leave the net at another machine.
        """
        return self.report.works and self.destinations.here

    def note(self, subject: str, finding: Finding) -> None:
        """Enter ``finding`` in the report; ``subject`` is a key of ``report.SUBJECTS``."""
        self.report.findings[subject] = finding

    def request(self, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
        """Ask it for ``command``; the dialogue returns the address of the reply."""
        return hop_requests.request(self.hop, command, destination)

    def seen_from_here(self, bound: Endpoint) -> Endpoint:
        """0.0.0.0 in a reply is the address that the proxy was asked at."""
        if bound.host not in ("0.0.0.0", "::"):
            return bound
        return Endpoint(self.there if len(self.path) == 1 else self.hop.host, bound.port)
