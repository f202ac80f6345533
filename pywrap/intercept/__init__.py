"""Everything that touches the interpreter, a file for each thing replaced.

Four moments, so that nobody pays for what he does not use:

* ``arm``, before the program: an audit hook and an import hook (``importing``), and nothing else is imported;
* ``import select``: ``select.epoll`` is replaced (``epoll``);
* ``import socket``: functions are replaced. Those that decide about traffic are doors (``doors``), the others
  (``accept``, ``endpoints``, ``lifetime``, ``options``) look into tables that are still empty (``tunnels``);
* the first call of a door: the implementation (``connect``, ``datagram``, ``listening``, ``resolver``) and
  all of ``pywrap.tunnel``.
"""

from __future__ import annotations

import os
import sys
from _thread import allocate_lock

from pywrap.intercept import importing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Settings
    from pywrap.intercept.installed import Installed
    from pywrap.intercept.patches import Patches
    from pywrap.intercept.tunnels import Tunnels

# Raised by C code when somebody is about to reach, or to ask, something outside.
WATCHED = frozenset(
    {
        "socket.__new__",
        "socket.connect",
        "socket.getaddrinfo",
        "socket.gethostbyaddr",
        "socket.gethostbyname",
        "socket.getnameinfo",
        "socket.sendmsg",
        "socket.sendto",
    }
)

_TO_RELAY = frozenset({"socket.connect", "socket.sendmsg", "socket.sendto"})

AF_PACKET = 17

_settings: Callable[[], Settings] | None = None
_tunnels: Tunnels | None = None
_installed: Installed | None = None
_patches: Patches | None = None
_loading = allocate_lock()
# Neither can be taken back.
_hooked = False
_fork_hooked = False


def active() -> bool:
    """Is this interpreter patched, or about to be?"""
    return _settings is not None


def arm(settings: Callable[[], Settings]) -> None:
    """Patch ``socket`` at the moment of its import. ``settings()`` is called at the first use."""
    global _settings, _hooked
    _settings = settings
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    importing.install(_imported, _announced)
    if importing.SELECT in sys.modules:
        _patch_select(sys.modules[importing.SELECT])
    if "socket" in sys.modules:
        # In a running program; or a .pth file was faster.
        _patch(sys.modules["socket"])
    for name in importing.KEEPERS:
        if name in sys.modules:
            _patch_keeper(sys.modules[name])


def install(settings: Settings) -> None:
    """Patch the running interpreter.

    Raises:
        RuntimeError: it is patched already.
    """
    if active():
        raise RuntimeError("pywrap is installed already; uninstall() it first")
    arm(lambda: settings)
    import socket  # noqa: F401

    # Here and now: a program that calls this goes out, and may have gevent in it.
    current()


def uninstall() -> None:
    """Take everything back. Open tunnels stay open, pending ones are finished. May be called twice."""
    global _settings, _installed, _patches
    importing.uninstall()
    if _patches is not None:
        _patches.undo()
    _settings = _installed = _patches = None


def current() -> Installed | None:
    """What doors and the audit hook decide by; None when nothing is patched."""
    global _installed
    if _installed is None and _settings is not None:
        with _loading:
            if _installed is None:
                from pywrap.intercept.installed import Installed

                assert _tunnels is not None, "importing socket has patched it"
                _installed = Installed(_settings(), _tunnels)
    return _installed


def _imported(module: Any) -> None:
    if module.__name__ in importing.KEEPERS:
        _patch_keeper(module)
    elif module.__name__ == importing.SELECT:
        _patch_select(module)
    else:
        _patch(module)


def _patch_select(module: Any) -> None:
    """Replace ``epoll`` in ``module``, which is ``select``; eventlet makes a second one of it."""
    global _patches
    from pywrap.intercept import epoll, patches

    if _patches is None:
        _patches = patches.Patches()
    epoll.install(_patches, module)


def _patch(module: Any) -> None:
    """Replace everything in ``module``, which is ``socket``.

    Once more when ``importlib.reload`` has made a new class in it, or eventlet a second module.
    """
    global _tunnels, _fork_hooked
    # Now, if not before: what is below imports it as well, in the middle of what replaces it.
    import select  # noqa: F401

    from pywrap.intercept import accept, doors, endpoints, lifetime, options, raw, tunnels

    assert _patches is not None, "importing select has made them"
    if _tunnels is None:
        _tunnels = tunnels.Tunnels()
    doors.install(_patches, module, current)
    for part in (accept, endpoints, lifetime, options, raw):
        part.install(_patches, module, _tunnels)
    if not _fork_hooked:
        os.register_at_fork(after_in_child=_forked)
        _fork_hooked = True


def _patch_keeper(module: Any) -> None:
    """Replace what ``module`` keeps of ``socket``, which it has imported."""
    assert _patches is not None and _tunnels is not None, "importing socket has patched it"
    if module.__name__ == importing.TRIO:
        from pywrap.intercept import late

        late.install(_patches, module, _tunnels.roots)
    else:
        from pywrap.intercept import reduction

        reduction.install(_patches, module, _tunnels)


def _announced(name: str) -> None:
    installed = current()
    if installed is not None and name in importing.FOREIGN:
        installed.check_module(name)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in WATCHED or (event == "socket.__new__" and args[1] != AF_PACKET):
        return
    if _tunnels is not None and _tunnels.relays and event in _TO_RELAY and _tunnels.is_relay(args[1]):
        # Each datagram of ours comes by here.
        return
    installed = current()
    if installed is not None:
        installed.check(event, args)


def _forked() -> None:
    global _loading
    _loading = allocate_lock()
    if _installed is not None:
        _installed.session.forked()
