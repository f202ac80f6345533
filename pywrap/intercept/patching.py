"""What was replaced, and the way back."""

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
            # Inherited, as socket.connect is from C. Assigning the original would leave a copy on
            # the class; deleting ours uncovers it.
            self._undo.append(lambda: delattr(owner, name))
        setattr(owner, name, new)

    def remember(self, undo: Callable[[], None]) -> None:
        """Have ``undo()`` call this too: for what is no attribute."""
        self._undo.append(undo)

    def undo(self) -> None:
        """Put everything back, last replaced first. May be called twice."""
        while self._undo:
            self._undo.pop()()
