"""Which attempts a connection may make: the choice between the two policies."""

from __future__ import annotations

from pywrap.socks import v5
from pywrap.tunnel.selection import Fixed
from pywrap.tunnel.strict_policy import StrictPolicy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.socks.wire import Dialogue, Endpoint
    from pywrap.tunnel.hops import Hops
    from pywrap.tunnel.retry_policy import RetryPolicy
    from pywrap.tunnel.selection import Selection


def policy(
    hops: Hops,
    selection: Selection,
    destination: Endpoint,
    command: int = v5.CONNECT,
    pipeline: str = "off",
    fast_open: bool = False,
    then: Callable[[], Dialogue[None]] | None = None,
) -> RetryPolicy | StrictPolicy:
    """The policy of a new connection. The arguments are those of ``RetryPolicy``."""
    if pipeline == "off" and then is None and isinstance(selection, Fixed):
        return StrictPolicy(hops, selection.path, destination, command, fast_open)
    # Imported here: most connections have a strict chain.
    from pywrap.tunnel.retry_policy import RetryPolicy

    return RetryPolicy(hops, selection, destination, command, pipeline, fast_open, then)
