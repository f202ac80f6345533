"""Everything that touches the interpreter. What is replaced in it has a file of its name in ``patches``.

The patches are installed in four steps, so that a program pays only for what it uses:

* ``arm``, before the program: an audit hook, an import hook (``import_hook``), and what starts children
  (``patches.spawn``). Nothing else is imported;
* ``import select``: ``select.epoll`` is replaced (``patch_on_import``, ``epoll``);
* ``import socket``: functions are replaced. Those that decide about traffic import their implementation when
  they are called (``patches.replaced_functions``). The others (``accept``, ``getpeername``, ``lifecycle``,
  ``sockopt``) look into tables that are still empty (``registry``);
* the first call of one of ``patches.replaced_functions``: the implementations (``patches.implementations``),
  which import ``tcp``, ``udp``, ``bind`` and ``pywrap.tunnel``.

Each step may be interrupted by code of the program that connects, and by another thread (``loading``,
``lock``).
"""

from __future__ import annotations

import sys

from pywrap.archive import keep, known
from pywrap.intercept import import_hook
from pywrap.intercept.loading import add_audit_hook, load, restore_audit_hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Settings
    from pywrap.intercept.runtime import Runtime

# The audit events of calls that may send something off this machine, and that of a look-up in a C library by
# ctypes, which ``patch_on_import`` decides about.
WATCHED = frozenset(
    {
        "ctypes.dlsym",
        "ctypes.dlsym/handle",
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

_settings: Callable[[], Settings] | None = None
_handed: Callable[[], str] | None = None
# That of ``patch_on_import``, as soon as that is imported.
_watch: Callable[[str, tuple[Any, ...]], None] | None = None
# An audit hook cannot be removed.
_hooked = False


def active() -> bool:
    """Whether this interpreter is patched, or will be when the program imports ``socket``."""
    return _settings is not None


def arm(settings: Callable[[], Settings], handed: Callable[[], str] | None = None) -> None:
    """Patch ``socket`` at the moment of its import. ``settings()`` is called at the first use.

    ``handed()`` is the text of the settings in the environment of children; None leaves children alone.
    """
    global _settings, _handed, _hooked
    _settings, _handed = settings, handed
    if handed is not None:
        from pywrap.intercept.patches import spawn

        spawn.install(handed, settings)
    keep()
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    sys.addaudithook = add_audit_hook
    import_hook.install(_expected, _imported, _announced)
    if _watch is not None or not import_hook.LOADED.isdisjoint(sys.modules):
        _patched().patch_imported()


def install(settings: Settings, handed: Callable[[], str] | None = None) -> None:
    """Patch the running interpreter. ``handed`` is as for ``arm``.

    Raises:
        RuntimeError: the interpreter is patched already, by us.
    """
    if active():
        raise RuntimeError("pywrap is installed already; uninstall() it first")
    _patched().install(lambda: arm(lambda: settings, handed))


def uninstall() -> None:
    """Undo all patches. Open tunnels stay open, pending ones are finished. May be called twice."""
    global _settings
    import_hook.uninstall()
    restore_audit_hooks()
    spawn = known("pywrap.intercept.patches.spawn")
    if spawn is not None:
        spawn.uninstall()
    patched = known("pywrap.intercept.patch_on_import")
    if patched is not None:
        patched.uninstall()
    _settings = None


def current() -> Runtime | None:
    """The runtime of this interpreter, made at the first call; None when the interpreter is not patched."""
    return _patched().current()  # type: ignore[no-any-return]


def _patched() -> Any:
    """The module ``patch_on_import``, which knows the settings."""
    global _watch
    patched = load("pywrap.intercept.patch_on_import", "socket")
    patched.begin(_settings, _handed)
    _watch = patched.watch
    return patched


def _expected() -> None:
    _patched().prepare()


def _imported(module: Any) -> None:
    _patched().imported(module)


def _announced(name: str) -> None:
    _patched().announced(name)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in WATCHED:
        (_watch or _patched().watch)(event, args)
