"""The proxy that is tested: how it is reached, and results of earlier tests that later ones need."""

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
    """The last proxy of ``path``, reached through those before it.

    ``patience``: seconds for each test. ``target``: the user's destination, which the proxy can reach, or
    None. ``listener``: our own destination.
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
        # The addresses of the two ends of a connection to the first hop: ours, and the hop's.
        self.here = self.there = ""
        # The method that the proxy picks when it is offered all that we have.
        self.method = v5.NO_AUTHENTICATION
        # Whether the proxy has granted a connection that did not exist. Other clients only wait for the
        # grant, and would take it for a success.
        self.granted_in_vain = False

    @property
    def is_socks5(self) -> bool:
        """Whether the hop speaks SOCKS5."""
        return hop_requests.is_socks5(self.hop)

    @property
    def exits_here(self) -> bool:
        """Whether the proxy was seen to connect to this machine from this machine.

        A proxy on loopback need not do so: `ssh -D` and others make the connections on another machine.
        """
        return self.report.works and self.destinations.here

    def note(self, subject: str, finding: Finding) -> None:
        """Enter ``finding`` in the report; ``subject`` is a key of ``report.SUBJECTS``."""
        self.report.findings[subject] = finding

    def request(self, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
        """Ask the proxy for ``command``; the dialogue returns the address of the reply."""
        return hop_requests.request(self.hop, command, destination)

    def seen_from_here(self, bound: Endpoint) -> Endpoint:
        """``bound``, the address in a reply, with the proxy's own address in the place of 0.0.0.0 and ::."""
        if bound.host not in ("0.0.0.0", "::"):
            return bound
        return Endpoint(self.there if len(self.path) == 1 else self.hop.host, bound.port)
