"""add_reader() and add_writer() of a loop with an epoll object of C: registrations follow a hand-over.

When a tunnel's socket takes the place of its placeholder, the registration of the old file is gone
(``epoll``). Such a loop then registers the descriptor once more, in its own thread. So this module notes what
each loop has registered by these methods; it does not see what the loop's own code registers.
"""

from __future__ import annotations

import _weakref

from pywrap.intercept import epoll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.intercept.patching import Patches

    # By descriptor and by "reader" or "writer": the callback and its arguments.
    Registered: TypeAlias = dict[tuple[int, str], tuple[Any, ...]]

KINDS = ("reader", "writer")

# The name of the attribute of a loop that has its ``Registered``.
TABLE = "_registered_by_pysocksify"

# The loops that have registered something, by id.
_loops: dict[int, Any] = {}


def install(patches: Patches, cls: Any) -> None:
    """Replace add_reader, add_writer, remove_reader and remove_writer of ``cls``, a loop's class."""
    originals = {
        f"{verb}_{kind}": getattr(cls, f"{verb}_{kind}") for verb in ("add", "remove") for kind in KINDS
    }
    for kind in KINDS:
        patches.replace(cls, f"add_{kind}", _adding(kind, originals[f"add_{kind}"]))
        patches.replace(cls, f"remove_{kind}", _removing(kind, originals[f"remove_{kind}"]))

    def moved(fd: int) -> None:
        for reference in list(_loops.values()):
            loop = reference()
            if isinstance(loop, cls) and any((fd, kind) in vars(loop)[TABLE] for kind in KINDS):
                try:
                    loop.call_soon_threadsafe(_register_again, loop, fd, originals)
                except RuntimeError:
                    # The loop is closed, and watches nothing any more.
                    pass

    epoll.followers.append(moved)
    patches.remember(lambda: epoll.followers.remove(moved))


def _adding(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def add(self: Any, fd: Any, callback: Any, *args: Any) -> Any:
        table = _table(self)
        key = _number(fd), kind
        before = table.get(key)
        # Noted before the call: another thread may hand over the descriptor in the middle of it.
        table[key] = (callback, *args)
        try:
            return original(self, fd, callback, *args)
        except BaseException:
            if before is None:
                table.pop(key, None)
            else:
                table[key] = before
            raise

    add.__name__ = add.__qualname__ = f"add_{kind}"
    return add


def _removing(kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
    def remove(self: Any, fd: Any) -> Any:
        _table(self).pop((_number(fd), kind), None)
        return original(self, fd)

    remove.__name__ = remove.__qualname__ = f"remove_{kind}"
    return remove


def _register_again(loop: Any, fd: int, originals: dict[str, Callable[..., Any]]) -> None:
    """In the thread of ``loop``: register ``fd``, by now another file, for the noted callbacks."""
    if loop.is_closed():
        return
    wanted = {kind: vars(loop)[TABLE].get((fd, kind)) for kind in KINDS}
    for kind, callback in wanted.items():
        if callback is not None:
            try:
                originals[f"remove_{kind}"](loop, fd)
            except OSError:
                # The kernel raises this, since the new file is not registered.
                pass
    for kind, callback in wanted.items():
        if callback is not None:
            originals[f"add_{kind}"](loop, fd, *callback)


def _table(loop: Any) -> Registered:
    table: Registered | None = vars(loop).get(TABLE)
    if table is None:
        table = vars(loop)[TABLE] = {}
        number = id(loop)
        _loops[number] = _weakref.ref(loop, lambda _: _loops.pop(number, None))
    return table


def _number(fd: Any) -> int:
    """The descriptor of ``fd``; -1 for an object that has none, for which the loop raises its own error."""
    if isinstance(fd, int):
        return fd
    try:
        return int(fd.fileno())
    except (AttributeError, TypeError, ValueError):
        return -1
