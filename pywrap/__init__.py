"""Send a Python program's traffic through SOCKS proxies. The command is ``pysocksify``.

In scripts, ``import pywrap.auto`` takes the settings from the same configuration files as the command;
``pywrap.install("socks5h://127.0.0.1:9050")`` says them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__version__ = "0.1.0"
__all__ = ["__version__", "install", "uninstall"]


def install(
    proxy: str | Sequence[str] | None = None,
    *,
    config: str | None = None,
    dns: str | None = None,
    loopback: str | None = None,
    direct: str | Sequence[str] = (),
    udp: str | None = None,
    listen: str | None = None,
    timeout: float | None = None,
    verbosity: int | None = None,
) -> None:
    """Send this process's traffic through proxies from now on, as ``pysocksify`` would.

    ``proxy``: a URL, or the URLs of a chain, nearest first. ``config``: a configuration file; when neither
    is given, one is searched for as the command does. The others are the command's options
    ``--dns --loopback --direct --udp --listen --timeout`` (seconds), and ``verbosity`` from -1 to 2 its -q,
    -v and -vv. Connections that exist already stay as they are.

    Raises:
        pywrap.errors.ConfigError: the settings are wrong, or name no proxy.
        RuntimeError: it is installed already, here or by the command.
    """
    # Here, not on top: the command has read its settings elsewhere, and a start must be quick.
    from pywrap import intercept
    from pywrap.config.choices import Choices
    from pywrap.config.rules import parse_directs
    from pywrap.config.search import load
    from pywrap.config.settings import DNS, LISTEN, LOOPBACK, UDP
    from pywrap.config.url import parse_proxy
    from pywrap.config.words import one_of, seconds

    proxies = [proxy] if isinstance(proxy, str) else proxy
    directs = [direct] if isinstance(direct, str) else direct
    choices = Choices(
        proxies=None if proxies is None else tuple(map(parse_proxy, proxies)) or None,
        dns=None if dns is None else one_of(DNS, dns, "dns"),
        loopback=None if loopback is None else one_of(LOOPBACK, loopback, "loopback"),
        rules=tuple(rule for text in directs for rule in parse_directs(text)),
        udp=None if udp is None else one_of(UDP, udp, "udp"),
        listen=None if listen is None else one_of(LISTEN, listen, "listen"),
        timeout=None if timeout is None else seconds(str(timeout), "timeout"),
        verbosity=verbosity,
    )
    intercept.install(load(choices, config))


def uninstall() -> None:
    """Take everything back: what connects from now on connects directly. May be called twice."""
    from pywrap import intercept

    intercept.uninstall()
