"""Patches the interpreter, when the program imports ``socket`` or another module with something to replace.

``pywrap.intercept`` has the steps. Each may be interrupted by code of the program that connects, and by
another thread (``loading``, ``lock``).
"""

from __future__ import annotations

import sys

from pywrap.archive import known
from pywrap.intercept import import_hook
from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Settings
    from pywrap.intercept.patching import Patches
    from pywrap.intercept.registry import SocketRegistry
    from pywrap.intercept.runtime import Runtime

# The audit events of a symbol that is looked up in a C library, as its attribute or by ``_ctypes.dlsym``:
# ``unsupported.SYMBOLS`` are of interest.
_SYMBOL = frozenset({"ctypes.dlsym", "ctypes.dlsym/handle"})

_TO_RELAY = frozenset({"socket.connect", "socket.sendmsg", "socket.sendto"})

AF_PACKET = 17

# The modules that replace functions of ``socket``, beside ``patches.replaced_functions``.
_PARTS = tuple(
    f"pywrap.intercept.patches.{name}" for name in ("accept", "getpeername", "lifecycle", "c_socket")
)

# As of ``begin``.
_settings: Callable[[], Settings] | None = None
_handed: Callable[[], str] | None = None
_registry: SocketRegistry | None = None
_runtime: Runtime | None = None
_patches: Patches | None = None
# Of what gevent and eventlet have kept or made before ``install``; undone before the others.
_patches_over_green: Patches | None = None


def begin(settings: Callable[[], Settings], handed: Callable[[], str] | None) -> None:
    """Say by what is decided from now on; as for ``intercept.arm``."""
    global _settings, _handed
    _settings, _handed = settings, handed


def install(arm: Callable[[], None]) -> None:
    """Patch the running interpreter by ``arm()``, below what gevent and eventlet may have patched."""
    global _patches_over_green
    green_patches = load("pywrap.green_patches")
    with green_patches.taken_off():
        arm()
        import socket  # noqa: F401

        # At once: a program that calls this will connect, and gevent may replace locks before it does.
        current()
        if green_patches.is_loaded():
            load("pywrap.intercept.patches.implementations").complete()
            _patches_over_green = load("pywrap.intercept.patching").Patches()
            over = load("pywrap.intercept.patches.green")
    if _patches_over_green is not None:
        over.install(_patches_over_green, _registry, _patch_select, _patch)


def uninstall() -> None:
    """Undo all patches. Open tunnels stay open, pending ones are finished. May be called twice."""
    global _settings, _runtime, _patches, _patches_over_green
    if _runtime is not None and _runtime.log is not None:
        _runtime.log.close()
    marker = known("pywrap.marker")
    if marker is not None:
        marker.remove()
    if _patches_over_green is not None:
        _patches_over_green.undo()
    if _patches is not None:
        with load("pywrap.green_patches").taken_off():
            _patches.undo()
    _settings = _runtime = _patches = _patches_over_green = None


def patch_imported() -> None:
    """Replace what there is in the modules that are there already.

    ``arm`` was called in a running program, or a .pth file has imported them before us.
    """
    if import_hook.SELECT in sys.modules:
        _patch_select(sys.modules[import_hook.SELECT])
    if "socket" in sys.modules:
        _patch(sys.modules["socket"])
    for name in import_hook.INTERPRETERS:
        if name in sys.modules:
            _patch_interpreters(sys.modules[name])
    for name in import_hook.KEEPERS - {import_hook.FORK_EXEC}:
        if name in sys.modules:
            _patch_keeper(sys.modules[name])


def current() -> Runtime | None:
    """The runtime of this interpreter, made at the first call; None when the interpreter is not patched."""
    global _runtime
    settings = _settings
    if _runtime is None and settings is not None:
        prepare()
        implementations = load("pywrap.intercept.patches.implementations", "connection")
        made = implementations.new_runtime(settings(), _registry)
        if _runtime is None and _settings is settings:
            # Otherwise a signal handler or another thread has made a runtime meanwhile, and may have opened
            # sockets with it: that one stays.
            _runtime = made
    return _runtime


def imported(module: Any) -> None:
    """Replace what there is in ``module``, which the program has just imported."""
    if module.__name__ == import_hook.FORK_EXEC:
        known("pywrap.intercept.patches.spawn").patch_fork_exec(module)
        return
    if module.__name__ in import_hook.INTERPRETERS:
        _patch_interpreters(module)
    elif module.__name__ in import_hook.KEEPERS:
        _patch_keeper(module)
    elif module.__name__ == import_hook.SELECT:
        _patch_select(module)
    else:
        _patch(module)


def _patch_select(module: Any) -> None:
    """Replace ``epoll`` in ``module``, which is ``select``; eventlet makes a second one of it."""
    global _patches
    epoll = load("pywrap.intercept.epoll", "socket")
    patches = load("pywrap.intercept.patching").Patches()
    if _patches is None:
        _patches = patches
    epoll.install(_patches, module)


def _patch_interpreters(module: Any) -> None:
    global _patches
    if _patches is None:
        _patches = load("pywrap.intercept.patching").Patches()
    load("pywrap.intercept.patches.interpreters").install(_patches, module, _text_for_interpreters, _handed)


def _text_for_interpreters() -> str:
    """The settings as text, with the list of placeholders that a new interpreter shares."""
    runtime = current()
    assert runtime is not None, "the patch is gone otherwise"
    text = load("pywrap.intercept.patches.interpreters").text_of
    return text(runtime.settings, runtime.share_names())  # type: ignore[no-any-return]


def prepare() -> None:
    """Load what ``_patch`` needs before ``socket`` is executed: no code of the program uses it until then."""
    global _registry
    if sys.is_finalizing():
        # Python shuts down: nothing can be imported any more (``loading``).
        return
    # ``select`` first: the modules below import it, and it would be patched in the middle of their loading.
    import select

    _patch_select(select)
    for part in ("pywrap.intercept.patches.sockopt", *_PARTS):
        load(part)
    load("pywrap.marker").put()
    registry = load("pywrap.intercept.registry").SocketRegistry()
    # No call between the test and the assignment: Python runs signal handlers at calls, and none may run
    # here.
    if _registry is None:
        _registry = registry
    load("pywrap.intercept.fork").install(_present)


def _patch(module: Any) -> None:
    """Replace everything in ``module``, which is ``socket``.

    Called again when ``importlib.reload`` has made a new class in it, or eventlet a second module.
    """
    prepare()
    load("pywrap.intercept.patches.replaced_functions").install(_patches, module, current)
    load("pywrap.intercept.patches.sockopt").install(_patches, module, _registry, current)
    for part in _PARTS:
        load(part).install(_patches, module, _registry)


def _patch_keeper(module: Any) -> None:
    """Replace the functions of ``socket`` that ``module`` has kept."""
    # ``module`` has imported it, unless it is another module of the same name.
    import socket  # noqa: F401

    assert _patches is not None and _registry is not None, "importing socket has patched it"
    if module.__name__ == import_hook.TRIO:
        load("pywrap.intercept.patches.trio").install(_patches, module, _registry.roots)
    elif module.__name__ == import_hook.ASYNCIO:
        load("pywrap.intercept.patches.asyncio").install(_patches, module, current)
    elif module.__name__ == import_hook.EVENTLET:
        load("pywrap.intercept.patches.green").refuse_greendns(_patches)
    elif module.__name__ in import_hook.SOCKS_LIBRARIES:
        load("pywrap.intercept.socks_libraries").install(_patches, module, _name_of)
    elif module.__name__ in import_hook.SEAMS:
        _patch_library(module)
    else:
        load("pywrap.intercept.patches.multiprocessing").install(_patches, module, _registry)


def _patch_library(module: Any) -> None:
    """Patch ``module``, of a library that has sockets of its own."""
    runtime = current()
    # In a confinement, the kernel catches the traffic of such sockets; dnspython's are Python's, so patched.
    is_covered = runtime is None or (runtime.is_confined and module.__name__ != import_hook.DNSPYTHON)
    if not is_covered:
        load(f"pywrap.intercept.patches.{import_hook.SEAMS[module.__name__]}").install(
            _patches, module, current
        )


def _name_of(literal: str) -> str:
    """The name behind a placeholder address; "" for any other."""
    runtime = current()
    return "" if runtime is None else runtime.name_behind(literal)


def announced(name: str) -> None:
    """The program is about to import ``name``, of ``import_hook.GREEN`` or ``FOREIGN``."""
    runtime = current()
    if name in import_hook.GREEN:
        load("pywrap.intercept.patches.implementations").complete()
    if runtime is not None and name in import_hook.FOREIGN:
        load("pywrap.intercept.unsupported").check(runtime, name)


def watch(event: str, args: tuple[Any, ...]) -> None:
    """Decide about a call of the audit event ``event``, one of ``intercept.WATCHED``.

    Raises:
        OSError: it would leave directly.
    """
    if event in _TO_RELAY:
        if _registry is not None and _registry.is_relay(args[1]):
            # Most calls are datagrams that we send to a relay: let them pass quickly.
            return
    elif event == "socket.__new__":
        if args[1] != AF_PACKET:
            return
    elif event in _SYMBOL:
        _looked_up(args[1])
        return
    if _runtime is not None and event == "socket.connect":
        if type(args[0]) is _runtime.own_class or type(args[1]) is _runtime.address_class:
            # The socket or the address is of a class that only our code uses: it connects to a first hop.
            return
    runtime = current()
    if runtime is not None:
        load("pywrap.intercept.audit").check(runtime, event, args)


def _looked_up(name: Any) -> None:
    if _settings is None:
        return
    unsupported = load("pywrap.intercept.unsupported")
    if name in unsupported.SYMBOLS:
        runtime = current()
        if runtime is not None:
            unsupported.check_symbol(runtime, name, "ctypes")


def _present() -> Runtime | None:
    """The runtime, without making one."""
    return _runtime
