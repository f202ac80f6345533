"""Variables that name proxies ($http_proxy), which are hidden from a covered program.

The traffic of a program that used such a proxy would go through both proxies; or, if that proxy is on this
machine, only through that one, since connections to this machine are direct. Libraries also fail where they
lack the support for it ("Missing dependencies for SOCKS support"). So the program does not see the variables,
unless ``keep_env`` is set. $NO_PROXY stays: without the others it has no effect.

The variables are removed from ``os.environ``, but not from the environment of the C library, which a child
inherits unless it is started with another. A child that is not a Python (git, curl) finds them there; a
covered Python hides them again. For children that get a copy of ``os.environ``, they are in the settings
(``proxy_variables``).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# In lower case, the part of a name before _proxy. requests, httpx and aiohttp read the first three, urllib
# all; grpc, websockets and rsync read one each that is their own.
SCHEMES = frozenset(
    {
        *("all", "http", "https", "ftp", "ftps", "socks", "socks4", "socks5", "ws", "wss"),
        *("grpc", "rsync", "gopher"),
    }
)
# Names in lower case, of pip, uv, npm and gcloud. A variable of some other program stays visible; the traffic
# of that program goes to its proxy, through ours.
OTHERS = frozenset(
    {
        *("pip_proxy", "uv_http_proxy", "uv_https_proxy", "uv_all_proxy"),
        *("npm_config_proxy", "npm_config_http_proxy", "npm_config_https_proxy"),
        *("cloudsdk_proxy_type", "cloudsdk_proxy_address", "cloudsdk_proxy_port"),
    }
)

# The variables that ``hide`` has hidden in this process.
_hidden: dict[str, str] = {}


def is_proxy_variable(name: str) -> bool:
    """Whether ``name``, in upper or lower case, is a variable that programs take a proxy from."""
    name = name.lower()
    return (name.endswith("_proxy") and name[:-6] in SCHEMES) or name in OTHERS


def hide() -> None:
    """Hide the variables that name proxies from this process."""
    # Removed from the dictionary behind ``os.environ``: deleting from ``os.environ`` itself would also unset
    # them in the environment of C. That dictionary has bytes as keys and values; one that a program may have
    # assigned to ``os.environ`` before ``install()`` has str.
    environ: Any = os.environ
    data: dict[Any, Any] = getattr(environ, "_data", environ)
    for key in list(data):
        name = os.fsdecode(key)
        if is_proxy_variable(name):
            _hidden[name] = os.fsdecode(data.pop(key))
    reload = getattr(os, "reload_environ", None)
    if _hidden and reload is not None and reload.__module__ == "os":
        os.reload_environ = _hiding(reload)  # type: ignore[attr-defined]


def show() -> None:
    """Undo ``hide``, except for variables that the program has set meanwhile. May be called twice."""
    while _hidden:
        os.environ.setdefault(*_hidden.popitem())
    reload = getattr(os, "reload_environ", None)
    if hasattr(reload, "__wrapped__"):
        os.reload_environ = reload.__wrapped__  # type: ignore[attr-defined,union-attr]


def complete(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ``, the environment of this process, with the hidden variables added."""
    return {**_hidden, **environ}


def _hiding(reload: Any) -> Any:
    """A replacement for ``os.reload_environ`` (Python 3.14): that copies C's environment, so hide again."""

    def reload_environ() -> None:
        reload()
        hide()

    reload_environ.__doc__ = reload.__doc__
    reload_environ.__wrapped__ = reload  # type: ignore[attr-defined]
    return reload_environ
