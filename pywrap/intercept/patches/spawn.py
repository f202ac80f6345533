"""Everything that starts another program: fork_exec, os.exec*, os.posix_spawn*, os.system.

A child that is a Python reads our start-up file, whatever environment and options the program gives it
(``programs.cover``). All other ways lead through these: ``subprocess`` and ``multiprocessing`` through
``_posixsubprocess.fork_exec``, or from Python 3.14 on through os.posix_spawn; os.spawn* and the others of
os.exec* through os.execv and os.execve; os.popen through ``subprocess``.

A shell is no Python: it passes on the environment, which is right, and what it starts is beyond this file.
"""

from __future__ import annotations

import os
import sys

from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

FORK_EXEC = "_posixsubprocess"

# What is in the place of a function, by the module and the name, and what was there before.
_replaced: list[tuple[Any, str, Any, Any]] = []
# The text of the settings, for the environment of children; None: children are left alone.
_handed: Callable[[], str] | None = None


def install(handed: Callable[[], str]) -> None:
    """Cover the children that are started from now on. ``handed()`` is the text of the settings for them."""
    global _handed
    _handed = handed
    if _replaced:
        return
    import posix

    for name, make in (
        *(("execv", _execv), ("execve", _execve), ("system", _system)),
        *(("posix_spawn", _posix_spawn), ("posix_spawnp", _posix_spawn)),
    ):
        original = getattr(posix, name)
        new = _named(make(original), original)
        # os has copies of them all.
        _replace(posix, name, new)
        _replace(os, name, new)
    if FORK_EXEC in sys.modules:
        patch_fork_exec(sys.modules[FORK_EXEC])


def patch_fork_exec(module: Any) -> None:
    """Replace fork_exec in ``module``, which is ``_posixsubprocess``."""
    if _handed is None:
        return
    original = module.fork_exec
    new = _named(_fork_exec(original), original)
    _replace(module, "fork_exec", new)
    keeper = sys.modules.get("subprocess")
    if getattr(keeper, "_fork_exec", None) is original:
        _replace(keeper, "_fork_exec", new)


def uninstall() -> None:
    """Leave children alone. May be called twice."""
    global _handed
    _handed = None
    while _replaced:
        module, name, original, new = _replaced.pop()
        # Unless the program has replaced it since: what it kept of ours goes straight on.
        if getattr(module, name) is new:
            setattr(module, name, original)


def _replace(module: Any, name: str, new: Any) -> None:
    _replaced.append((module, name, getattr(module, name), new))
    setattr(module, name, new)


def _named(new: Callable[..., Any], original: Any) -> Callable[..., Any]:
    new.__name__ = new.__qualname__ = original.__name__
    new.__doc__ = original.__doc__
    return new


# ---------------------------------------------------------------- the functions


def _execv(original: Any) -> Callable[..., Any]:
    # That of the interpreter: it is replaced after this one.
    execve = os.execve

    def execv(path: Any, argv: Any, /) -> Any:
        found = _covered([path], argv, None)
        if found is None:
            return original(path, argv)
        file, words, environ = found
        return execve(file, words, os.environ if environ is None else environ)

    return execv


def _execve(original: Any) -> Callable[..., Any]:
    def execve(path: Any, argv: Any, env: Any) -> Any:
        found = _covered([path], argv, env)
        if found is None:
            return original(path, argv, env)
        file, words, environ = found
        return original(file, words, env if environ is None else environ)

    return execve


def _posix_spawn(original: Any) -> Callable[..., Any]:
    def posix_spawn(path: Any, argv: Any, env: Any, /, **options: Any) -> Any:
        files = [path] if original.__name__ == "posix_spawn" else _on_path(path)
        found = _covered(files, argv, env)
        if found is None:
            return original(path, argv, env, **options)
        file, words, environ = found
        return original(file, words, env if environ is None else environ, **options)

    return posix_spawn


def _fork_exec(original: Any) -> Callable[..., Any]:
    def fork_exec(args: Any, executables: Any, *rest: Any) -> Any:
        # Of 23 arguments (22 in 3.14) these come next in all versions: close_fds, pass_fds, cwd, environment.
        given = None if rest[3] is None else _decoded(rest[3])
        found = _covered(executables, args, given, rest[2])
        if found is None:
            return original(args, executables, *rest)
        file, words, environ = found
        if environ is not None:
            rows = [os.fsencode(f"{name}={value}") for name, value in environ.items()]
            rest = (*rest[:3], rows, *rest[4:])
        return original([os.fsencode(word) for word in words], (os.fsencode(file),), *rest)

    return fork_exec


def _system(original: Any) -> Callable[..., Any]:
    def system(command: Any) -> Any:
        cover = _cover()
        if _handed is None or not isinstance(command, (str, bytes)) or cover.has_all(os.environ):
            return original(command)
        changed = cover.environment(os.environ, _handed())
        exports = "".join(
            f"{name}={_quoted(changed[name])}; export {name}\n" for name in ("PYTHONPATH", cover.VARIABLE)
        )
        return original(os.fsencode(exports) + os.fsencode(command))

    return system


def _cover() -> Any:
    # Not on top: most programs start none.
    return load("pywrap.programs.cover")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _decoded(rows: Sequence[Any]) -> dict[str, str]:
    pairs = (os.fsdecode(row).partition("=") for row in rows)
    return {name: value for name, _, value in pairs}


def _on_path(name: Any) -> list[str]:
    text = os.fsdecode(name)
    return [text] if "/" in text else [os.path.join(folder, text) for folder in os.get_exec_path()]


def _covered(
    files: Sequence[Any], argv: Any, env: Mapping[Any, Any] | None, folder: Any = None
) -> tuple[str, list[str], dict[str, str] | None] | None:
    """The file, the words and the environment to execute; None where those that were given will do.

    The environment is None where that can stay. ``env`` None is the environment of this process.
    """
    handed = _handed
    if handed is None:
        return None
    cover = _cover()
    try:
        environ = os.environ if env is None else {os.fsdecode(n): os.fsdecode(v) for n, v in env.items()}
        words = [os.fsdecode(word) for word in argv]
        file = _first([os.fsdecode(each) for each in files], folder)
    except (TypeError, AttributeError, ValueError):
        # Of a type that C refuses, in its own words.
        return None
    changed = None if cover.has_all(environ) else cover.environment(environ, handed())
    found = cover.command(file, words) if file else None
    if found is None:
        return None if changed is None else (file or os.fsdecode(files[0]), words, changed)
    return (*found, changed)


def _first(files: list[str], folder: Any) -> str:
    """The file that is executed, of candidates in this order; "" when there is none."""
    for file in files:
        path = file if folder is None else os.path.join(os.fsdecode(folder), file)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path if len(files) > 1 or "/" in file else file
    return ""
