"""``@frozen``: a frozen dataclass without the import of ``dataclasses``.

The target process builds a handful of these before its first connection, and
``import dataclasses`` (inspect, re, ast…) costs more there than everything else
of ours together: 8 ms of a 9 ms `import socket`. Type checkers are told that it
*is* ``dataclasses.dataclass(frozen=True, slots=True)``, so keep to what that allows:
annotated fields, plain defaults, no inheritance between frozen classes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T", bound=type[Any])
    V = TypeVar("V")

    @dataclass_transform(frozen_default=True)
    def frozen(cls: T) -> T: ...

else:

    def frozen(cls):
        """Make ``cls`` an immutable value with the fields that it annotates."""
        names = tuple(cls.__annotations__)
        body = {name: value for name, value in vars(cls).items() if name not in names}
        for name in ("__dict__", "__weakref__"):
            body.pop(name, None)
        body["__slots__"] = names
        body["__match_args__"] = names
        defaults = {name: vars(cls)[name] for name in names if name in vars(cls)}
        body["__init__"] = _init(cls.__name__, names, defaults)
        body.update(_VALUE)
        for name in ("__repr__", "__str__"):
            if name in vars(cls):
                body[name] = vars(cls)[name]
        return type(cls)(cls.__name__, cls.__bases__, body)

    def _init(owner: str, names: tuple[str, ...], defaults: dict[str, Any]) -> Callable[..., None]:
        set_field = object.__setattr__

        def __init__(self, *args, **fields):
            if len(args) == len(names) and not fields:
                # What a connection does, some times over.
                for name, value in zip(names, args, strict=True):
                    set_field(self, name, value)
                return
            if len(args) > len(names):
                raise TypeError(f"{owner}() takes {len(names)} fields, got {len(args)}")
            given = dict(zip(names, args, strict=False))
            for name, value in fields.items():
                if name not in names or name in given:
                    raise TypeError(f"{owner}() got an unexpected field: {name}")
                given[name] = value
            for name in names:
                if name not in given and name not in defaults:
                    raise TypeError(f"{owner}() misses the field: {name}")
                set_field(self, name, given[name] if name in given else defaults[name])

        return __init__

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def _repr(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"

    def _eq(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return _fields(self) == _fields(other)

    def _hash(self) -> int:
        return hash(_fields(self))

    def _refuse(self, name: str, value: object = None) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def _reduce(self):
        return type(self), _fields(self)

    _VALUE = {
        "__repr__": _repr,
        "__eq__": _eq,
        "__hash__": _hash,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__reduce__": _reduce,
    }


def replace(value: V, **changes: object) -> V:
    """A copy of a frozen ``value`` with some fields changed, as ``dataclasses.replace`` does."""
    names = value.__slots__  # type: ignore[attr-defined]
    return type(value)(**{name: changes.pop(name, getattr(value, name)) for name in names}, **changes)
