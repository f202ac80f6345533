"""Send a Python program's traffic through SOCKS proxies. The command is ``pysocksify``.

In scripts, ``import pywrap.auto`` reads the same configuration files as the command;
``pywrap.install("socks5h://127.0.0.1:9050")`` takes the settings as arguments.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pywrap.config.settings import Settings

__version__ = "0.1.0"
__all__ = ["__version__", "install", "uninstall"]


def install(
    proxy: str | Sequence[str] | None = None,
    *,
    config: str | None = None,
    config_format: str | None = None,
    direct: str | Sequence[str] = (),
    route: str | Sequence[str] = (),
    dnat: str | Sequence[str] = (),
    children: bool | str = True,
    **settings: str | float | bool | None,
) -> None:
    """Send this process's traffic through proxies from now on, as ``pysocksify`` would.

    ``proxy``: a URL, or the URLs of a chain, nearest first. ``config``: a configuration file; when neither is
    given, one is searched for as the command does. ``direct``, ``route`` and ``dnat``: one or several values
    of the command's options. ``children``: whether programs that this process starts are covered as well; a
    text is a value of the option ``--children``, about those that are not Python. ``settings``: the other
    options, with underscores for dashes (``pysocksify --help`` lists them): numbers for times (seconds),
    truth values for on and off, texts for the rest, None to leave an option out. ``verbosity`` from -1 to 2
    stands for -q, -v and -vv. Connections that exist already stay as they are. Variables that name proxies
    are hidden from ``os.environ``, unless ``keep_env``.

    Raises:
        TypeError: there is no such setting.
        pywrap.errors.ConfigError: the settings are wrong, or name no proxy.
        RuntimeError: pysocksify is installed already, here or by the command; or this Python runs without the
            GIL.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError("pywrap needs the GIL: run this free-threaded Python with -X gil=1")
    # Imported here, not on top: the command does not need these modules, and a start must be quick.
    from pywrap import green_patches

    with green_patches.taken_off():
        from pywrap import intercept
    from pywrap.config import variables
    from pywrap.config.arguments import NAMES, Arguments
    from pywrap.config.search import load
    from pywrap.config.settings import new_run
    from pywrap.frozen import replace
    from pywrap.messages import Messages

    arguments = Arguments("install()")
    for url in _several(proxy or ()):
        arguments.add_proxy(url)
    for name, texts in (("direct", direct), ("route", route), ("dnat", dnat)):
        for text in _several(texts):
            arguments.take(name, text)
    for name, value in settings.items():
        if name not in NAMES:
            raise TypeError(f"install() got an unexpected keyword argument: {name}")
        if value is not None:
            arguments.take(name, ("off", "on")[value] if isinstance(value, bool) else str(value))
    if isinstance(children, str):
        arguments.take("children", children)
    given = settings.get("verbosity")
    messages = Messages(int(given) if given else 0)
    loaded = load(
        arguments.partial(),
        config,
        file_format=arguments.file_format(config_format),
        say=lambda text: messages.say(0, text),
    )
    for hop in loaded.secured_hops:
        from pywrap.config.url_security import needs_relay
        from pywrap.errors import ConfigError

        message, hint = needs_relay(hop)
        raise ConfigError(message, f"pysocksify PROGRAM, with {hint}")
    # A run of its own, as each command has one.
    loaded = replace(loaded, run=new_run())
    if loaded.log:
        from pywrap.launch import log_file

        loaded = log_file.begin(loaded, "", confined=False)
    intercept.install(loaded, _handed_over(loaded) if children else None)
    if not loaded.keep_env:
        variables.hide()


def _handed_over(settings: Settings) -> Callable[[], str]:
    """A function that returns the value of the environment variable by which children get ``settings``."""
    values: list[str] = []

    def handed() -> str:
        if not values:
            import os

            from pywrap.launch.environment import handed_over

            values.append(handed_over(settings, os.environ))
        return values[0]

    return handed


def _several(texts: str | Sequence[str]) -> Sequence[str]:
    return [texts] if isinstance(texts, str) else texts


def uninstall() -> None:
    """Undo ``install``: connections from now on are direct. May be called twice."""
    from pywrap import intercept
    from pywrap.config import variables

    intercept.uninstall()
    variables.show()
