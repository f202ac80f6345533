"""Takes the green functions that gevent and eventlet put into Python's modules off for a while.

The locks, threads and epoll that ``install()`` keeps for itself must be the interpreter's own, and our
replacements must stand below the green functions, as they do where ``install()`` came first. So ``install()``
works while the modules have their original functions (``taken_off``). The functions that are in the modules
at the end of that then count as the originals of the green ones.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeAlias

    # By module and name: the value before gevent or eventlet replaced it.
    Before: TypeAlias = dict[str, dict[str, Any]]

GEVENT, EVENTLET = "gevent.monkey", "eventlet.patcher"

# The modules of which we keep functions, or in which we replace some.
_MODULES = ("_thread", "os", "select", "selectors", "socket", "subprocess", "time")

# By eventlet's name for each of its patches: the function of eventlet that returns the green modules.
_OF_EVENTLET = {
    name: f"_green_{name}_modules" for name in ("os", "select", "socket", "subprocess", "thread", "time")
}

# For eventlet; gevent has such a table of its own (``gevent.monkey.saved``).
_before_eventlet: Before = {}

_ABSENT = object()


def is_loaded() -> bool:
    """Whether gevent or eventlet is loaded in this process."""
    return "gevent" in sys.modules or "eventlet" in sys.modules


class taken_off:
    """A ``with`` block in which the modules have the functions that gevent and eventlet have replaced."""

    def __init__(self) -> None:
        # For each green function: the table of originals, the module, the name, and the function.
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
    """The originals of the names that ``green`` has replaced in ``name``, from eventlet's second module."""
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
    """The class ``socket.socket`` with which the program has begun; ``second``: that of eventlet's module."""
    derived: list[type] = second.__mro__[-2].__subclasses__()
    alike = (each for each in derived if (each.__module__, each.__qualname__) == ("socket", "socket"))
    return next((each for each in alike if each is not second), second)
