"""A chain of proxies as one dialogue: each hop is asked for the next, the last for the destination."""

from __future__ import annotations

from pywrap.errors import SocksError
from pywrap.socks import v4, v5
from pywrap.socks.wire import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue


def handshake(chain: tuple[Proxy, ...], destination: Endpoint) -> Dialogue[Endpoint]:
    """Open a tunnel to ``destination`` on a connection to the first hop; return what the last one bound.

    Raises:
        SocksError: the message starts with the hop that it happened at.
    """
    bound = destination
    for number, hop in enumerate(chain):
        last = number + 1 == len(chain)
        onward = destination if last else Endpoint(chain[number + 1].host, chain[number + 1].port)
        try:
            bound = yield from _request(hop, onward)
        except SocksError as err:
            err.args = (f"{hop_label(chain, number)}: {err} (asked for {onward})",)
            raise
    return bound


def hop_label(chain: tuple[Proxy, ...], number: int) -> str:
    """How messages name a hop: by its address, and by its place where there are several."""
    place = f"hop {number + 1} of {len(chain)}, " if len(chain) > 1 else ""
    return f"{place}proxy {chain[number]}"


def _request(hop: Proxy, onward: Endpoint) -> Dialogue[Endpoint]:
    if hop.scheme in ("socks5", "socks5h"):
        return v5.connect(onward, hop.username, hop.password)
    return v4.connect(onward, hop.username, names=hop.scheme == "socks4a")
