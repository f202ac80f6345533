"""``@frozen``: a frozen dataclass without the import of ``dataclasses``.

The target process makes a handful of these before its first connection, and there
``import dataclasses`` (inspect, re, ast…) costs more than all of our code: 8 ms, where
`import socket` takes 9 ms with it. For type checkers this *is*
``dataclasses.dataclass(frozen=True, slots=True)``, so keep to what that allows:
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
        body.update(_VALUE)
        for name in ("__repr__", "__str__"):
            if name in vars(cls):
                body[name] = vars(cls)[name]
        body["_defaults"] = defaults
        return type(cls)(cls.__name__, cls.__bases__, body)

    def _init_source(names: tuple[str, ...], defaults: dict[str, Any]) -> str:
        parameters = ", ".join(f"{name}=_default_{name}" if name in defaults else name for name in names)
        lines = [f" _set_{name}(self, {name})" for name in names]
        return "\n".join([f"def __init__(self, {parameters}):", *(lines or [" pass"])])

    def _hash_source(names: tuple[str, ...], defaults: dict[str, Any]) -> str:
        return f"def __hash__(self):\n return hash(({_tuple('self', names)}))"

    def _eq_source(names: tuple[str, ...], defaults: dict[str, Any]) -> str:
        return (
            "def __eq__(self, other):\n if other.__class__ is not self.__class__: return NotImplemented\n"
            f" return ({_tuple('self', names)}) == ({_tuple('other', names)})"
        )

    def _tuple(value: str, names: tuple[str, ...]) -> str:
        return "".join(f"{value}.{name}, " for name in names)

    # How many values of a class are made before its ``__init__`` is compiled. Compiling takes as long as
    # making so many values without it; 0.6 ms for Settings, of which a program has one.
    _FEW = 16
    _made: dict[type[Any], int] = {}

    def _compiled(
        cls: type[Any], name: str, source: Callable[[tuple[str, ...], dict[str, Any]], str]
    ) -> Callable[..., Any]:
        """Compile the method ``name`` of ``cls``, and give it to the class.

        The generated code is as fast as that of a dataclass. Compiling it at import would make each program
        start slower, although a program uses only some of these methods.
        """
        names, defaults = cls.__slots__, cls._defaults
        namespace = {f"_set_{each}": vars(cls)[each].__set__ for each in names}
        namespace.update({f"_default_{each}": value for each, value in defaults.items()})
        exec(source(names, defaults), namespace)
        method = namespace[name]
        method.__qualname__ = f"{cls.__qualname__}.{name}"
        method.__module__ = cls.__module__
        setattr(cls, name, method)
        return method

    # The methods of a class until its own are compiled.

    def _init(self, *args, **fields) -> None:
        cls = type(self)
        made = _made.get(cls, 0)
        if made < _FEW:
            _made[cls] = made + 1
            if _fill(self, args, fields, cls._defaults):
                return
        _compiled(cls, "__init__", _init_source)(self, *args, **fields)

    def _hash(self) -> int:
        return _compiled(type(self), "__hash__", _hash_source)(self)

    def _eq(self, other: object) -> bool:
        return _compiled(type(self), "__eq__", _eq_source)(self, other)

    def _fill(self, args: tuple[Any, ...], fields: dict[str, Any], defaults: dict[str, Any]) -> bool:
        """Set the fields; False if the arguments are wrong: the compiled method raises the error for that."""
        given = dict(zip(self.__slots__, args, strict=False))
        values = {**defaults, **given, **fields}
        if len(values) != len(self.__slots__) or len(given) != len(args) or given.keys() & fields.keys():
            return False
        for name in self.__slots__:
            if name not in values:
                return False
            _set(self, name, values[name])
        return True

    # object's own, since that of frozen classes refuses.
    _set = object.__setattr__

    def _fields(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def _repr(self) -> str:
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__slots__)
        return f"{type(self).__name__}({shown})"

    def _refuse(self, name: str, value: object = None) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")

    def _reduce(self):
        return type(self), _fields(self)

    _VALUE = {
        "__init__": _init,
        "__hash__": _hash,
        "__eq__": _eq,
        "__repr__": _repr,
        "__setattr__": _refuse,
        "__delattr__": _refuse,
        "__reduce__": _reduce,
    }


def replace(value: V, **changes: object) -> V:
    """A copy of a frozen ``value`` with some fields changed, as ``dataclasses.replace`` does."""
    names = value.__slots__  # type: ignore[attr-defined]
    return type(value)(**{name: changes.pop(name, getattr(value, name)) for name in names}, **changes)
