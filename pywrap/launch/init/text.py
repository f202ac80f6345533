"""The text of the file that ``--init`` writes, with comments for the user."""

from __future__ import annotations

from pywrap.config.file_lines import chain_type_lines, comment_text, proxy_line
from pywrap.config.proxychains import SECTION
from pywrap.config.route_rules import format_route
from pywrap.config.settings import TO_BLOCK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

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
        lines += [
            f"# From {comment_text(chosen.origin)}:\n",
            *(f"route {format_route(rule)}\n" for rule in rules),
        ]
    lines.append(PROXIES)
    if chosen.chain.type != "strict":
        lines += [f"{line}\n" for line in chain_type_lines(chosen.chain)]
    lines += [f"{SECTION}\n", f"# From {comment_text(chosen.origin)}:\n"]
    lines += [f"{proxy_line(proxy, masked=False)}\n" for proxy in chosen.chain.proxies]
    for candidate, result in others:
        lines.append(f"\n# {comment_text(candidate.origin)}: {comment_text(result)}\n")
        # Without the password: users copy a comment more easily than a setting.
        lines += [f"#{proxy_line(proxy)}\n" for proxy in candidate.chain.proxies]
    return "".join(lines)
