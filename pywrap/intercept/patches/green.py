"""Replaces functions that gevent and eventlet have kept, where they were imported before ``install()``.

gevent's sockets derive from the C class, and eventlet's from a second ``socket`` module. Both have modules
that have bound functions of ``os``, ``subprocess`` and ``_socket``. ``pywrap.green_patches`` makes our
patches of Python's modules stand below theirs. eventlet's own look-ups, by datagrams, are replaced by
Python's in any case.
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
# The beginning of the names of eventlet's second modules.
_SECOND = "__original_module_"
_KEEPERS = ("gevent.", "eventlet.", _SECOND, "__patched_module_")

# eventlet's resolver, and the module that eventlet uses without it.
_GREENDNS, _WITHOUT_IT = "eventlet.support.greendns", "eventlet.green._socket_nodns"
_RESOLVES = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "getnameinfo")


def install(
    patches: originals.Patches,
    registry: SocketRegistry,
    patch_select: Callable[[Any], None],
    patch_socket: Callable[[Any], None],
) -> None:
    """Replace the kept functions, and patch the second modules by ``patch_select`` and ``patch_socket``."""
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
    """Replace the look-ups of eventlet's resolver by Python's."""
    greendns: Any = sys.modules.get(_GREENDNS)
    if greendns is not None:
        plain = sys.modules[_WITHOUT_IT]
        # eventlet may have patched ``socket`` already.
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
    """Pairs of an original function, which others may have bound, and its replacement."""
    for name in ("getaddrinfo", *COPIED):
        yield getattr(originals, name), getattr(_socket, name)
    yield originals.dup, lifecycle.dup
    spawn = known("pywrap.intercept.patches.spawn")
    if spawn is not None:
        yield from spawn.replaced()
