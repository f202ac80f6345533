"""What gevent and eventlet have kept, in a program that has imported them before ``install()``.

gevent's sockets derive from the C class, and eventlet's from a second ``socket`` module. Both have modules
that have bound functions of ``os``, ``subprocess`` and ``_socket``. That the modules of Python are patched
below theirs is ``pywrap.green_patches``. eventlet's own look-ups, by datagrams, are replaced by Python's in
any case.
"""

from __future__ import annotations

import _socket
import sys

from pywrap.archive import known
from pywrap.intercept import originals
from pywrap.intercept.patches import c_socket, lifecycle
from pywrap.intercept.patches.replaced_functions import COPIED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pywrap.intercept.registry import SocketRegistry

_GEVENT_SOCKETS = "gevent._socket3"
# eventlet's second modules.
_SECOND = "__original_module_"
_KEEPERS = ("gevent.", "eventlet.", _SECOND, "__patched_module_")

# eventlet's resolver, and Python's as eventlet has it without that.
_GREENDNS, _WITHOUT_IT = "eventlet.support.greendns", "eventlet.green._socket_nodns"
_RESOLVES = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "getnameinfo")


def install(
    patches: originals.Patches,
    registry: SocketRegistry,
    patch_select: Callable[[Any], None],
    patch_socket: Callable[[Any], None],
) -> None:
    for name, patch in (("select", patch_select), ("socket", patch_socket)):
        if _SECOND + name in sys.modules:
            patch(sys.modules[_SECOND + name])
    for cls in originals.Socket.__subclasses__():
        if cls.__module__ == _GEVENT_SOCKETS:
            c_socket.cover(patches, cls, registry)
    keepers = [module for name, module in list(sys.modules.items()) if name.startswith(_KEEPERS)]
    _rebind(patches, keepers, _replaced())
    refuse_greendns(patches)


def refuse_greendns(patches: originals.Patches) -> None:
    """Put Python's look-ups into the place of those of eventlet's resolver."""
    greendns: Any = sys.modules.get(_GREENDNS)
    if greendns is not None:
        plain = sys.modules[_WITHOUT_IT]
        # It may have patched ``socket`` already.
        users = [sys.modules[name] for name in ("eventlet.green.socket", "socket") if name in sys.modules]
        _rebind(patches, users, ((getattr(greendns, name), getattr(plain, name)) for name in _RESOLVES))


def _rebind(patches: originals.Patches, keepers: list[Any], pairs: Iterable[tuple[Any, Any]]) -> None:
    """Replace the first of each of ``pairs`` by the second, in the modules ``keepers``."""
    found = {id(old): (old, new) for old, new in pairs}
    for module in keepers:
        for attribute, value in list(vars(module).items()):
            if id(value) in found:
                patches.replace(module, attribute, found[id(value)][1])


def _replaced() -> Iterator[tuple[Any, Any]]:
    """Functions that others may have bound, and what is in their place."""
    for name in ("getaddrinfo", *COPIED):
        yield getattr(originals, name), getattr(_socket, name)
    yield originals.dup, lifecycle.dup
    spawn = known("pywrap.intercept.patches.spawn")
    if spawn is not None:
        yield from spawn.replaced()
