"""Send a Python program's traffic through SOCKS proxies. The command is ``pysocksify``.

In scripts, ``import pywrap.auto`` takes the settings from the same configuration files as the command;
``pywrap.install("socks5h://127.0.0.1:9050")`` says them.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__version__ = "0.1.0"
__all__ = ["__version__", "install", "uninstall"]


def install(
    proxy: str | Sequence[str] | None = None,
    *,
    config: str | None = None,
    config_format: str | None = None,
    chain_type: str | None = None,
    dns: str | None = None,
    placeholders: str | None = None,
    loopback: str | None = None,
    direct: str | Sequence[str] = (),
    route: str | Sequence[str] = (),
    dnat: str | Sequence[str] = (),
    udp: str | None = None,
    listen: str | None = None,
    bind_peer: str | None = None,
    pipeline: str | None = None,
    fast_open: bool | None = None,
    isolate_streams: bool | None = None,
    timeout: float | None = None,
    connect_timeout: float | None = None,
    read_timeout: float | None = None,
    keep_env: bool | None = None,
    verbosity: int | None = None,
) -> None:
    """Send this process's traffic through proxies from now on, as ``pysocksify`` would.

    ``proxy``: a URL, or the URLs of a chain, nearest first. ``config``: a configuration file; when neither is
    given, one is searched for as the command does, and stderr tells which. The others are the command's
    options of the same names, with numbers for times (seconds) and truth values for on and off; ``verbosity``
    from -1 to 2 is its -q, -v and -vv. Connections that exist already stay as they are. Variables that name
    proxies are hidden from ``os.environ``, unless ``keep_env``.

    Raises:
        pywrap.errors.ConfigError: the settings are wrong, or name no proxy.
        RuntimeError: it is installed already, here or by the command; or this Python runs without the GIL.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError("pywrap needs the GIL: run this free-threaded Python with -X gil=1")
    # Here, not on top: the command has read its settings elsewhere, and a start must be quick.
    from pywrap import intercept
    from pywrap.config import variables
    from pywrap.config.arguments import Arguments
    from pywrap.config.search import load
    from pywrap.messages import Messages

    arguments = Arguments("install()")
    for url in _several(proxy or ()):
        arguments.add_proxy(url)
    for name, texts in (("direct", direct), ("route", route), ("dnat", dnat)):
        for text in _several(texts):
            arguments.take(name, text)
    for name, value in (
        *(("chain_type", chain_type), ("dns", dns), ("placeholders", placeholders), ("loopback", loopback)),
        *(("udp", udp), ("listen", listen)),
        *(("bind_peer", bind_peer), ("pipeline", pipeline), ("fast_open", fast_open)),
        *(("isolate_streams", isolate_streams), ("keep_env", keep_env)),
        *(("timeout", timeout), ("connect_timeout", connect_timeout), ("read_timeout", read_timeout)),
        ("verbosity", verbosity),
    ):
        if value is not None:
            arguments.take(name, ("off", "on")[value] if isinstance(value, bool) else str(value))
    messages = Messages(verbosity or 0)
    settings = load(
        arguments.partial(),
        config,
        file_format=arguments.file_format(config_format),
        say=lambda text: messages.say(0, text),
    )
    intercept.install(settings)
    if not settings.keep_env:
        variables.hide()


def _several(texts: str | Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts


def uninstall() -> None:
    """Take everything back: what connects from now on connects directly. May be called twice."""
    from pywrap import intercept
    from pywrap.config import variables

    intercept.uninstall()
    variables.show()
