"""Runs a function in a child process: as a program of its own, by the source that it has in the test."""

from __future__ import annotations

import ast
import dis
import inspect
import sys
from collections.abc import Callable, Iterator
from textwrap import dedent
from types import CodeType, ModuleType
from typing import Any

from tests.support import inside
from tests.support.run import pysocksify, run

# The source of a program, or a function that is one.
Program = str | Callable[..., object]

# What programs that are one line may use without importing it.
_LINE = {name: value for name, value in vars(inside).items() if not name.startswith("_")} | {"sys": sys}


def kernel(
    proxy: str,
    program: Program,
    *args: object,
    options: tuple[str, ...] = (),
    names: dict[str, Any] | None = None,
    **how: Any,
) -> Any:
    """What ``program`` says, run with ``args`` in sys.argv; loopback goes through ``proxy`` as well."""
    command = pysocksify("-x", proxy, "--loopback", "proxy", *options)
    return run(
        *command, sys.executable, "-c", source_of(program, *args, names=names), *map(str, args), **how
    ).json


def talk(proxy: Any, program: Program, *args: object, **how: Any) -> Any:
    """As ``kernel``; ``proxy`` is a server."""
    return kernel(proxy.url(), program, *args, **how)


def source_of(program: Program, *args: object, names: dict[str, Any] | None = None) -> str:
    """The source of ``program``, for ``python -c`` or a file.

    A function is called with the first of ``args``, as many as it has parameters. Before it stands what it
    uses of its module and of the functions around it: imports, other functions, and values that can be
    written as literals. A string finds that in ``names``, by default in ``tests.support.inside``; its
    ``host`` and ``port`` are the first of ``args``.
    """
    parts: dict[str, str] = {}
    if isinstance(program, str):
        known = {**_LINE, **(names or {}), **dict(zip(("host", "port"), args, strict=False))}
        source = dedent(program)
        _collect(compile(source, "program", "exec"), known, parts)
        return "\n".join([*parts.values(), source])
    _add(program.__name__, program, parts)
    wanted = len(inspect.signature(program).parameters)
    assert len(args) >= wanted, f"{program.__name__}() takes {wanted} arguments"
    words = ", ".join(_literal(arg) or repr(str(arg)) for arg in args[:wanted])
    return "\n".join([*parts.values(), f"{program.__name__}({words})", ""])


def _add(name: str, value: Any, parts: dict[str, str]) -> None:
    """Add what makes ``value`` known as ``name``, and first what that needs."""
    if name in parts:
        return
    if isinstance(value, ModuleType):
        parts[name] = f"import {value.__name__} as {name}" if value.__name__ != name else f"import {name}"
    elif (literal := _literal(value)) is not None:
        parts[name] = f"{name} = {literal}"
    elif not value.__module__.startswith("tests."):
        parts[name] = f"from {value.__module__} import {value.__qualname__} as {name}"
    elif value.__name__ != name:
        _add(value.__name__, value, parts)
        parts[name] = f"{name} = {value.__name__}"
    else:
        source = dedent(inspect.getsource(value))
        parts[name] = ""
        _collect(compile(source, name, "exec"), _scope(value), parts)
        # Behind what it needs: its defaults and its base classes are evaluated there.
        del parts[name]
        parts[name] = source


def _collect(code: CodeType, scope: dict[str, Any], parts: dict[str, str]) -> None:
    for name in dict.fromkeys(_loaded(code)):
        if name in scope and not name.startswith("__"):
            _add(name, scope[name], parts)


def _loaded(code: CodeType) -> Iterator[str]:
    """The names that ``code`` and what is defined in it look for outside."""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            yield step.argval
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _loaded(const)


def _scope(value: Any) -> dict[str, Any]:
    """The names around a function or class, those of enclosing functions included."""
    if inspect.isclass(value):
        return vars(sys.modules[value.__module__])
    cells = dict(zip(value.__code__.co_freevars, value.__closure__ or (), strict=True))
    return {**value.__globals__, **{name: cell.cell_contents for name, cell in cells.items()}}


def _literal(value: object) -> str | None:
    written = repr(value)
    try:
        return written if ast.literal_eval(written) == value else None
    except (ValueError, SyntaxError):
        return None
