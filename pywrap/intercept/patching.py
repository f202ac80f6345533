"""Replaces attributes, and puts the originals back; makes the functions that are put in their place."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Patches:
    """Replaces attributes and remembers how to put them back."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def replace(self, owner: Any, name: str, new: Any) -> None:
        """Make ``owner.name`` be ``new`` until ``undo()``."""
        if name in vars(owner):
            old = vars(owner)[name]
            self._undo.append(lambda: setattr(owner, name, old))
        else:
            # The attribute is inherited, as socket.connect is from the C class. Assigning the original would
            # leave a copy on the class; deleting ours uncovers the original.
            self._undo.append(lambda: delattr(owner, name))
        setattr(owner, name, new)

    def remember(self, undo: Callable[[], None]) -> None:
        """Have ``undo()`` call the function ``undo`` too: for replacements that are not of attributes."""
        self._undo.append(undo)

    def undo(self) -> None:
        """Put everything back, last replaced first. May be called twice."""
        while self._undo:
            self._undo.pop()()


def with_state(function: Any, original: Any = None, **state: Any) -> Any:
    """A copy of ``function``, one of a module, with ``state`` as the defaults of its keyword-only arguments.

    Only a function can replace a method, because only functions are passed ``self``. Where the function needs
    something that differs from one class or module to another, this copy takes the place of a closure:
    readers find the function by its name, and a call takes no longer. With ``original``, the copy has the
    name and the docstring of that.
    """
    copy = type(function)(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = state
    copy.__module__ = function.__module__
    copy.__qualname__ = function.__qualname__
    copy.__doc__ = function.__doc__
    if original is not None:
        copy.__name__ = original.__name__
        copy.__qualname__ = getattr(original, "__qualname__", original.__name__)
        copy.__doc__ = original.__doc__
    return copy


class Function:
    """A callable that replaces ``original``, a C function of the module ``owner``; it calls ``function``.

    A function written in Python, as an attribute of a class, would become a method. And it would be pickled
    (for a pool of processes) by its name in our modules. This callable is pickled by the name of
    ``original``, and does not become a method, like the C function.
    """

    def __init__(self, function: Any, original: Any, owner: Any) -> None:
        self._function = function
        members = ("__name__", "__qualname__", "__module__", "__doc__", "__text_signature__")
        vars(self).update({name: getattr(original, name) for name in members}, __self__=owner)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call ``function``; return and raise what it does."""
        try:
            return self._function(*args, **kwargs)
        finally:
            # The traceback of an exception has this frame, which would keep the arguments alive; a C function
            # has no frame.
            del args, kwargs

    def __repr__(self) -> str:
        return f"<built-in function {vars(self)['__name__']}>"

    def __reduce__(self) -> str:
        return str(vars(self)["__qualname__"])
