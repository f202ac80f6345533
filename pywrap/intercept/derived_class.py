"""Derived classes that put methods in front of C's in some sockets, and in no other.

Only datagram sockets (``udp.datagram_methods``) and sockets that listen at a proxy
(``bind.listener_methods``) get such a class. It is derived from the socket's own class, and has the same name
and layout.
"""

from __future__ import annotations

import sys

from pywrap.intercept.patching import with_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

# An attribute of each class that is made here.
MARK = "_pysocksify_flow"


class Classes:
    """The derived classes, made when they are first needed.

    ``roots``: the classes that are patched, ``socket.socket`` among them. ``methods(base)``: the members of
    the class that is derived from ``base``, one of the roots.
    """

    def __init__(self, roots: list[type], methods: Callable[[Any], dict[str, Any]]) -> None:
        self._roots = roots
        self._methods = methods
        # The derived class by the socket's own class; and the socket's own class by the derived one.
        self._made: dict[type, type] = {}
        self._before: dict[type, type] = {}

    def put_on(self, sock: _socket.socket) -> None:
        """Give ``sock`` the methods, unless it has them.

        Raises:
            TypeError: C code has made the socket, with a layout that no class of ours can have.
        """
        cls = type(sock)
        if cls not in self._before:
            sock.__class__ = self._derived(cls)

    def take_off(self, sock: _socket.socket) -> None:
        """Make ``sock`` be of its own class again."""
        before = self._before.get(type(sock))
        if before is not None:
            sock.__class__ = before

    def _derived(self, cls: type) -> type:
        if cls not in self._made:
            root = next((each for each in cls.__mro__ if each in self._roots), cls)
            bases: tuple[type, ...] = (cls,)
            members = _identity(cls)
            if cls is root:
                reduce = with_state(_reduce, root.__reduce_ex__, _base=root)
                members = {**members, **self._methods(root), "__reduce_ex__": reduce}
            else:
                # In the method resolution order, our methods stand behind the program's class: so calls of
                # super() in it find them.
                bases = (_Quiet, cls, self._derived(root))
            self._made[cls] = type(cls)(cls.__name__, bases, members)
            self._before[self._made[cls]] = cls
        return self._made[cls]


class _Quiet:
    """Hides the derived class from ``__init_subclass__`` of the program's class."""

    __slots__ = ()

    def __init_subclass__(cls, **_: Any) -> None:
        pass


def _identity(cls: type) -> dict[str, Any]:
    """Members by which the derived class looks like ``cls``."""
    return {
        "__slots__": (),
        "__module__": cls.__module__,
        "__qualname__": cls.__qualname__,
        "__doc__": cls.__doc__,
        MARK: True,
    }


def _reduce(self: Any, protocol: int, *, _base: Any) -> Any:
    """__reduce_ex__() of ``_base``, the socket's own class."""
    # multiprocessing finds the way to send a socket to another process by its exact class.
    reduction = sys.modules.get("multiprocessing.reduction")
    reducer = None if reduction is None else reduction.ForkingPickler._extra_reducers.get(_base)
    return _base.__reduce_ex__(self, protocol) if reducer is None else reducer(self)
