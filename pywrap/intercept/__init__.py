"""Everything that touches the interpreter, a file for each thing replaced.

``install`` patches now, ``arm`` when the program imports ``socket``. Nothing happens on import, and nothing
heavier than this file and ``audit`` is imported before ``socket`` is.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Settings
    from pywrap.intercept.originals import Patches
    from pywrap.intercept.session import Session

_settings: Settings | None = None
_session: Session | None = None
_patches: Patches | None = None
_fork_hooked = False


def active() -> Settings | None:
    """The settings in force, None when nothing is patched."""
    return _settings


def arm(settings: Settings) -> None:
    """Install at the moment when ``socket`` is imported, and refuse everything until then."""
    global _settings
    import sys

    from pywrap.intercept import audit, importing

    _settings = settings
    audit.install(current)
    importing.install(patch_socket)
    if "socket" in sys.modules:
        # A .pth file was faster.
        patch_socket()


def install(settings: Settings) -> None:
    """Patch the running interpreter.

    Raises:
        RuntimeError: it is patched already.
    """
    if _settings is not None:
        raise RuntimeError("pywrap is installed already; uninstall() first")
    import socket  # noqa: F401

    arm(settings)


def uninstall() -> None:
    """Take everything back. Open tunnels stay open; pending ones are finished."""
    global _settings, _session, _patches
    from pywrap.intercept import importing

    importing.uninstall()
    if _patches is not None:
        _patches.undo()
    _settings = _session = _patches = None


def current() -> Session | None:
    """What applies to whoever comes through a patch or the audit hook."""
    if _session is None and _settings is not None:
        # Somebody works on ``_socket`` itself.
        import socket  # noqa: F401
    return _session


def patch_socket() -> None:
    """Replace everything; again when ``importlib.reload(socket)`` has made a new class."""
    global _session, _patches, _fork_hooked
    from pywrap.intercept import (
        connect,
        datagram,
        endpoints,
        epoll,
        lifetime,
        options,
        originals,
        resolver,
    )
    from pywrap.intercept.session import Session

    assert _settings is not None
    if _session is None:
        _session = Session(_settings)
        _patches = originals.Patches()
        epoll.install(_patches)
    assert _patches is not None
    for part in (connect, datagram, endpoints, lifetime, options, resolver):
        part.install(_patches, _session)
    if not _fork_hooked:
        os.register_at_fork(after_in_child=_forked)
        _fork_hooked = True


def _forked() -> None:
    if _session is not None:
        _session.forked()
