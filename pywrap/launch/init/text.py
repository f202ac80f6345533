"""The text of the file that ``--init`` writes, with comments for the user."""

from __future__ import annotations

from pywrap.config.proxychains import SECTION, WITHOUT_NAMES
from pywrap.config.route_rules import format_route
from pywrap.config.settings import TO_BLOCK
from pywrap.config.url import format_proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pywrap.config.settings import Chain, Proxy
    from pywrap.launch.init.candidates import Candidate

HEAD = """\
# pysocksify.conf, written by `pysocksify --init`. pysocksify.conf(5) has all directives.
# Try it:  pysocksify --check            what the proxies below can do
#          pysocksify -v python app.py   a line for each connection

# Names are resolved by the last proxy, never here. Tor gives addresses for them with: dns tor
dns remote

# What needs no proxy, besides this machine itself: networks, addresses, names.
#direct 10.0.0.0/8,192.168.0.0/16,*.corp.example
"""

PROXIES = """
# The proxies, the nearest first. Several below each other are a chain, one behind the other.
"""


def file_text(chosen: Candidate, others: Sequence[tuple[Candidate, str]]) -> str:
    """The file with the proxies of ``chosen``; ``others`` are in comments, with the words on their tests."""
    lines = [HEAD]
    rules = [rule for rule in chosen.rules if rule.to != TO_BLOCK]
    if rules:
        lines += [f"# From {chosen.origin}:\n", *(f"route {format_route(rule)}\n" for rule in rules)]
    lines += [PROXIES, *_type(chosen.chain), f"{SECTION}\n", f"# From {_comment(chosen.origin)}:\n"]
    lines += [f"{_line(proxy)}\n" for proxy in chosen.chain.proxies]
    for candidate, result in others:
        lines.append(f"\n# {_comment(candidate.origin)}: {_comment(result)}\n")
        # Without the password: users copy a comment more easily than a setting.
        lines += [f"#{_line(proxy, masked=True)}\n" for proxy in candidate.chain.proxies]
    return "".join(lines)


def _type(chain: Chain) -> list[str]:
    if chain.type == "strict":
        return []
    length = [f"chain_len {chain.length}\n"] if chain.length else []
    return [f"{chain.type}_chain\n", *length]


def _line(proxy: Proxy, masked: bool = False) -> str:
    url = format_proxy(proxy, masked)
    return f"{WITHOUT_NAMES}{url.removeprefix(proxy.scheme)}" if proxy.scheme == "socks4" else url


def _comment(text: str) -> str:
    # A line feed, in the name of a file, must not end the comment.
    return text if text.isprintable() else ascii(text)
