"""gevent and eventlet, which put green functions into Python's modules: how to take these off for a while.

What ``install()`` keeps for itself (locks, threads, epoll) must be the interpreter's own, and what it
replaces stands below what they have put there, as it does where it came first. So it works while the modules
are as they were before (``taken_off``). What is in them at the end of that counts as what they have replaced.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    # By module and name: what was there before gevent or eventlet.
    Before: TypeAlias = dict[str, dict[str, Any]]

GEVENT, EVENTLET = "gevent.monkey", "eventlet.patcher"

# Those of which we keep something, or in which we replace something.
_MODULES = ("_thread", "os", "select", "selectors", "socket", "subprocess", "time")

# What eventlet calls its patches of these, and the function of its own that has the green modules.
_OF_EVENTLET = {
    name: f"_green_{name}_modules" for name in ("os", "select", "socket", "subprocess", "thread", "time")
}

# gevent has such a table of its own.
_before_eventlet: Before = {}

_ABSENT = object()


def is_loaded() -> bool:
    """Is any of the two in this process?"""
    return "gevent" in sys.modules or "eventlet" in sys.modules


class taken_off:
    """A ``with`` block in which the modules have what they had before gevent and eventlet patched them."""

    def __init__(self) -> None:
        # The table, the module and the name of each, and what was there.
        self._theirs: list[tuple[dict[str, Any], Any, str, Any]] = []

    def __enter__(self) -> None:
        for before in _tables():
            for name in _MODULES:
                module = sys.modules.get(name)
                for attribute, native in before.get(name, {}).items():
                    theirs = vars(module).get(attribute, _ABSENT)
                    self._theirs.append((before[name], module, attribute, theirs))
                    setattr(module, attribute, native)

    def __exit__(self, *_: object) -> None:
        while self._theirs:
            before, module, attribute, theirs = self._theirs.pop()
            before[attribute] = getattr(module, attribute)
            if theirs is _ABSENT:
                delattr(module, attribute)
            else:
                setattr(module, attribute, theirs)


def _tables() -> Iterator[Before]:
    gevent, eventlet = sys.modules.get(GEVENT), sys.modules.get(EVENTLET)
    if gevent is not None:
        yield gevent.saved
    if eventlet is not None:
        for name, function in _OF_EVENTLET.items():
            if name in eventlet.already_patched:
                for module, green in getattr(eventlet, function)():
                    if module in _MODULES and module not in _before_eventlet:
                        _before_eventlet[module] = _replaced(eventlet, module, green)
        yield _before_eventlet


def _replaced(eventlet: Any, name: str, green: Any) -> dict[str, Any]:
    """What ``green`` has replaced in the module ``name``, taken from the second one that eventlet has."""
    second = eventlet.original(name)
    found = {
        each: getattr(second, each)
        for each in (*green.__patched__, *getattr(green, "__deleted__", ()))
        if hasattr(second, each)
    }
    if name == "socket":
        found["socket"] = _first_class(second.socket)
    return found


def _first_class(second: type) -> type:
    """The class ``socket.socket`` that the program has begun with; ``second`` is eventlet's."""
    derived: list[type] = second.__mro__[-2].__subclasses__()
    alike = (each for each in derived if (each.__module__, each.__qualname__) == ("socket", "socket"))
    return next((each for each in alike if each is not second), second)
