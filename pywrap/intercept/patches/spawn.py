"""Everything that starts another program: fork_exec, os.exec*, os.posix_spawn*, os.system.

All other ways call one of these functions: ``subprocess`` and ``multiprocessing`` call
``_posixsubprocess.fork_exec``, or from Python 3.14 on os.posix_spawn; os.spawn* and the other os.exec* call
os.execv and os.execve; os.popen calls ``subprocess``.

What they do is in ``child_starts``, which is imported when the program starts its first child.
"""

from __future__ import annotations

import os
import posix
import sys

from pywrap.intercept.loading import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Settings

FORK_EXEC = "_posixsubprocess"

# For each replaced function: the module, the name, the new function and the original.
_replaced: list[tuple[Any, str, Any, Any]] = []
# As for ``child_starts.begin``.
_handed: Callable[[], str] | None = None
_settings: Callable[[], Settings] | None = None
_inside = ""

_CONFINED = "PYSOCKSIFY_CONFINED"


def install(handed: Callable[[], str], settings: Callable[[], Settings]) -> None:
    """Cover the children that are started from now on.

    ``handed()``: the text of the settings for the environment of children. ``settings()``: the same settings,
    decoded.
    """
    global _handed, _settings, _inside
    _handed, _settings = handed, settings
    _inside = os.environ.get(_CONFINED, "")
    if _inside and not load("pywrap.intercept.child_policy").is_inside(os.environ):
        _inside = ""
    if _replaced:
        return
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


def replaced() -> list[tuple[Any, Any]]:
    """The functions that are replaced, and what is in their place."""
    return [(original, new) for _, _, original, new in _replaced]


def _replace(module: Any, name: str, new: Any) -> None:
    _replaced.append((module, name, getattr(module, name), new))
    setattr(module, name, new)


def _named(new: Callable[..., Any], original: Any) -> Callable[..., Any]:
    new.__name__ = new.__qualname__ = original.__name__
    new.__doc__ = original.__doc__
    return new


def _starts() -> Any:
    starts = load("pywrap.intercept.child_starts", "child")
    starts.begin(_handed, _settings, _inside)
    return starts


# ---------------------------------------------------------------- what takes their places


def _execv(original: Any) -> Callable[..., Any]:
    # The interpreter's own: os.execve is replaced after this function.
    execve = os.execve

    def execv(path: Any, argv: Any, /) -> Any:
        return _starts().execv(original, execve, path, argv)

    return execv


def _execve(original: Any) -> Callable[..., Any]:
    def execve(path: Any, argv: Any, env: Any) -> Any:
        return _starts().execve(original, path, argv, env)

    return execve


def _posix_spawn(original: Any) -> Callable[..., Any]:
    def posix_spawn(path: Any, argv: Any, env: Any, /, **options: Any) -> Any:
        return _starts().posix_spawn(original, path, argv, env, options)

    return posix_spawn


def _system(original: Any) -> Callable[..., Any]:
    def system(command: Any) -> Any:
        return _starts().system(original, command)

    return system


# Where fork_exec has ``preexec_fn`` among its arguments.
PREPARES = 21

# That of the interpreter, for what must not be covered.
_execute = os.execve


def _fork_exec(original: Any) -> Callable[..., Any]:
    def fork_exec(*given: Any) -> Any:
        if given[PREPARES] is not None and sys.is_finalizing() and sys.version_info >= (3, 12):
            # An error, in its own words.
            return original(*given)
        return _starts().fork_exec(original, _execute, given)

    return fork_exec
