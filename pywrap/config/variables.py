"""Variables that name proxies, and how they are hidden from a covered program, and from it alone.

What a program sends to such a proxy would go through two proxies at once; or, where that one is on this
machine, through that one alone. Libraries also stop where they lack what such a proxy needs ("Missing
dependencies for SOCKS support"). So the program does not see them, unless ``keep_env``. $NO_PROXY stays: by
itself it sends nothing anywhere.

They are taken out of ``os.environ`` and stay in the environment that C keeps. A child that gets none of its
own inherits that one: where it is not Python (git, curl), it finds them as they were; where it is, it hides
them again. For a child that gets a copy of ``os.environ``, the settings have them (``proxy_variables``).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# In small letters, what stands before _proxy. requests, httpx and aiohttp know the first three, urllib all of
# them; grpc, websockets and rsync have one of their own.
SCHEMES = frozenset(
    {
        *("all", "http", "https", "ftp", "ftps", "socks", "socks4", "socks5", "ws", "wss"),
        *("grpc", "rsync", "gopher"),
    }
)
# In small letters: of pip, uv, npm and gcloud. A variable that only one program of the user's knows is not
# among them, and stays: what that sends to its own proxy goes there through ours.
OTHERS = frozenset(
    {
        *("pip_proxy", "uv_http_proxy", "uv_https_proxy", "uv_all_proxy"),
        *("npm_config_proxy", "npm_config_http_proxy", "npm_config_https_proxy"),
        *("cloudsdk_proxy_type", "cloudsdk_proxy_address", "cloudsdk_proxy_port"),
    }
)

# What ``hide`` has hidden in this process.
_hidden: dict[str, str] = {}


def is_proxy_variable(name: str) -> bool:
    """Whether programs take a proxy from the variable ``name``, in any spelling of it."""
    name = name.lower()
    return (name.endswith("_proxy") and name[:-6] in SCHEMES) or name in OTHERS


def hide() -> None:
    """Hide them from this process."""
    # Past ``os.environ`` itself, which would unset them for C as well. Its keys and values are bytes; not so
    # those of a dictionary that a program has put into its place before ``install()``.
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
    """Undo ``hide``, but for what the program has set meanwhile. May be called twice."""
    while _hidden:
        os.environ.setdefault(*_hidden.popitem())
    reload = getattr(os, "reload_environ", None)
    if hasattr(reload, "__wrapped__"):
        os.reload_environ = reload.__wrapped__  # type: ignore[attr-defined,union-attr]


def complete(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ``, which is that of this process, with what is hidden from it."""
    return {**_hidden, **environ}


def _hiding(reload: Any) -> Any:
    """``os.reload_environ`` (3.14), which reads the environment that C keeps."""

    def reload_environ() -> None:
        reload()
        hide()

    reload_environ.__doc__ = reload.__doc__
    reload_environ.__wrapped__ = reload  # type: ignore[attr-defined]
    return reload_environ
