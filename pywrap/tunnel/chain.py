"""A chain of proxies as one dialogue: each hop is asked for the next, the last for the destination."""

from __future__ import annotations

import errno

from pywrap.errors import SocksError, Unencodable
from pywrap.socks import v4, v5
from pywrap.socks.wire import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue


# What a request is called in an error's text.
_ASKED = {v5.CONNECT: "asked for {}", v5.BIND: "asked to BIND for {}", v5.UDP_ASSOCIATE: "asked for UDP"}


def handshake(
    chain: tuple[Proxy, ...], destination: Endpoint, command: int = v5.CONNECT
) -> Dialogue[Endpoint]:
    """Ask the last hop for ``command``, through all before it; return the address of its reply.

    It runs on a connection to the first hop. CONNECT opens a tunnel to ``destination``.

    Raises:
        SocksError: the message starts with the hop that it happened at.
    """
    for number, onward in enumerate(chain[1:]):
        yield from _ask(chain, number, v5.CONNECT, Endpoint(onward.host, onward.port))
    return (yield from _ask(chain, len(chain) - 1, command, destination))


def _ask(chain: tuple[Proxy, ...], number: int, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    try:
        return (yield from _request(chain[number], command, destination))
    except SocksError as err:
        asked = _ASKED[command].format(destination)
        err.args = (f"{hop_label(chain, number)}: {err} ({asked})",)
        raise


def hop_label(chain: tuple[Proxy, ...], number: int) -> str:
    """How messages name a hop: by its address, and by its place where there are several."""
    place = f"hop {number + 1} of {len(chain)}, " if len(chain) > 1 else ""
    return f"{place}proxy {chain[number]}"


def _request(hop: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    if hop.scheme in ("socks5", "socks5h"):
        return v5.request(command, destination, hop.username, hop.password)
    if command == v5.UDP_ASSOCIATE:
        raise Unencodable("SOCKS4 has no UDP", errno.EOPNOTSUPP)
    if hop.scheme not in ("socks4", "socks4a"):
        raise Unencodable(f"no tunnel through `{hop.scheme}` proxies yet", errno.EOPNOTSUPP)
    return v4.request(command, destination, hop.username, names=hop.scheme == "socks4a")
