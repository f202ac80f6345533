"""Lines of a configuration file that more than one command writes: ``--show-config`` and ``--init``."""

from __future__ import annotations

from pywrap.config.proxychains import WITHOUT_NAMES
from pywrap.config.url import format_proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Chain, Proxy


def chain_type_lines(chain: Chain) -> list[str]:
    """The directives for the type of ``chain`` and for its length, if it has one; without line feeds."""
    lines = [f"{chain.type}_chain"]
    return [*lines, f"chain_len {chain.length}"] if chain.length else lines


def proxy_line(proxy: Proxy, masked: bool = True) -> str:
    """The line of ``proxy`` below ``[ProxyList]``; ``masked``: with ``***`` for its password."""
    url = format_proxy(proxy, masked)
    return f"{WITHOUT_NAMES}{url.removeprefix(proxy.scheme)}" if proxy.scheme == "socks4" else url


def comment_text(text: str) -> str:
    """``text`` on one line, for a comment: the name of a file may have a line feed, which is escaped."""
    return text if text.isprintable() else ascii(text)
