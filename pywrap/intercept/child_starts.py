"""What happens when a program starts another one: the child is covered, or goes where ``child_policy`` says.

``patches.spawn`` replaces the functions that start programs, and calls those of the same names here, each
with the original before its arguments. A child that is a Python reads our start-up file, whatever environment
and options the program gives it (``programs.cover``). A shell is no Python: what it starts is where the shell
is, and the Pythons among that find our start-up file by the environment.
"""

from __future__ import annotations

import os

from pywrap.intercept.loading import load
from pywrap.programs import cover

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from pywrap.config.settings import Settings
    from pywrap.intercept.child_policy import Children, Command

# As of ``begin``.
_handed: Callable[[], str] | None = None
_settings: Callable[[], Settings] | None = None
_inside = ""
_children: Children | None = None

_CONFINED = "PYSOCKSIFY_CONFINED"


def begin(handed: Callable[[], str] | None, settings: Callable[[], Settings] | None, inside: str) -> None:
    """Say what counts for the children that are started from now on; called before each.

    ``handed()`` is the text of the settings for their environment, and ``settings()`` the content; None:
    children are left alone. ``inside``: what the environment of this process says of the confinement that it
    is in; "" where it is in none.
    """
    global _handed, _settings, _inside, _children
    if settings is not _settings:
        _children = None
    _handed, _settings, _inside = handed, settings, inside


# ---------------------------------------------------------------- the functions


def execv(original: Any, execve: Any, path: Any, argv: Any) -> Any:
    """``os.execv``; ``execve`` is the original of that one, for an environment of ours."""
    found = _covered([path], argv, None)
    if found is None:
        return original(path, argv)
    file, words, environ, _ = found
    return execve(file, words, os.environ if environ is None else environ)


def execve(original: Any, path: Any, argv: Any, env: Any) -> Any:
    """``os.execve``."""
    found = _covered([path], argv, env)
    if found is None:
        return original(path, argv, env)
    file, words, environ, _ = found
    return original(file, words, env if environ is None else environ)


def posix_spawn(original: Any, path: Any, argv: Any, env: Any, options: Mapping[str, Any]) -> Any:
    """``os.posix_spawn`` and ``os.posix_spawnp``."""
    files = [path] if original.__name__ == "posix_spawn" else _on_path(path)
    found = _covered(files, argv, env, is_reset=_SIGPIPE in (options.get("setsigdef") or ()))
    if found is None:
        return original(path, argv, env, **options)
    file, words, environ, _ = found
    return original(file, words, env if environ is None else environ, **options)


# Of the 23 arguments of fork_exec (22 from 3.14 on), these have the same place in all versions.
_CLOSES, _KEPT, _FOLDER, _ENVIRONMENT, _RESETS = 2, 3, 4, 5, 14
_GROUP, _GROUPS, _USER, _PREPARES = 17, 18, 19, 21


def fork_exec(original: Any, execute: Any, given: Sequence[Any]) -> Any:
    """``_posixsubprocess.fork_exec``; ``execute`` is the interpreter's os.execve()."""
    env = None if given[_ENVIRONMENT] is None else _decoded(given[_ENVIRONMENT])
    becomes = (given[_USER], given[_GROUP], given[_GROUPS]) if os.geteuid() == 0 else (None, None, None)
    found = _covered(
        *(given[1], given[0], env, given[_FOLDER]),
        is_reset=bool(given[_RESETS]),
        prepared=given[_PREPARES] is not None,
        becomes=becomes,
    )
    if found is None:
        return original(*given)
    file, words, environ, placed = found
    changed = list(given)
    changed[0] = [os.fsencode(word) for word in words]
    changed[1] = (os.fsencode(file),)
    if environ is not None:
        changed[_ENVIRONMENT] = [os.fsencode(f"{name}={value}") for name, value in environ.items()]
    if placed is not None and becomes != (None, None, None):
        # It has to be root to enter, and becomes another user then.
        changed[_USER] = changed[_GROUP] = changed[_GROUPS] = None
    if placed is not None and placed.slower is not None:
        kept = given[_KEPT] if given[_CLOSES] else None
        folder = "." if given[_FOLDER] is None else os.fsdecode(given[_FOLDER])
        changed[_PREPARES] = _checked(execute, given[_PREPARES], folder, placed.slower, kept)
    return original(*changed)


def _checked(
    execute: Any, prepare: Callable[[], object], folder: str, slower: Command, kept: Sequence[int] | None
) -> Callable[[], None]:
    """A ``preexec_fn`` that calls the program's, ``prepare``, and then checks the rights that are left.

    ``prepare`` may have changed to another user, folder or root folder (chroot), so that the child cannot
    enter the confinement by its note: then ``slower`` is executed. ``folder``: the current folder of the
    child. ``kept``: the descriptors, from 3 on, that the child is to have; None: all that are inheritable.
    """
    children = load("pywrap.intercept.child_policy")
    before = children.rights(folder)

    def prepare_and_look() -> None:
        prepare()
        if children.rights(".") != before:
            if kept is not None:
                # Closed here, since the exec below comes before C closes them.
                for fd in children.inheritable().difference(kept):
                    os.set_inheritable(fd, False)
            execute(slower.file, slower.words, slower.environ)

    return prepare_and_look


def system(original: Any, command: Any) -> Any:
    """``os.system``."""
    if _handed is None or not isinstance(command, (str, bytes)):
        return original(command)
    found = _covered(["/bin/sh"], ["sh", "-c", os.fsdecode(command)], None)
    if found is None:
        return original(command)
    _, words, environ, _ = found
    exports = b""
    if environ is not None:
        # Not by an env(1) before it: those on $PATH may differ.
        exports = b"".join(
            os.fsencode(f"{name}={_quoted(environ[name])}; export {name}\n")
            for name in environ
            if environ[name] != os.environ.get(name)
        )
    if words[0] == "sh":
        return original(exports + os.fsencode(command))
    return original(exports + b"exec " + b" ".join(os.fsencode(_quoted(word)) for word in words))


_SIGPIPE = 13


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _decoded(rows: Sequence[Any]) -> dict[str, str]:
    pairs = (os.fsdecode(row).partition("=") for row in rows)
    return {name: value for name, _, value in pairs}


def _on_path(name: Any) -> list[str]:
    text = os.fsdecode(name)
    return [text] if "/" in text else [os.path.join(folder, text) for folder in os.get_exec_path()]


def _covered(
    files: Sequence[Any],
    argv: Any,
    env: Mapping[Any, Any] | None,
    folder: Any = None,
    *,
    is_reset: bool = False,
    prepared: bool = False,
    becomes: tuple[Any, Any, Any] = (None, None, None),
) -> tuple[str, list[str], dict[str, str] | None, Command | None] | None:
    """The file, the words and the environment to execute, and the ``Command`` of ``child_policy``, if any.

    None where the child can be started as the program wants it; an environment None where that of the program
    can stay.

    ``files``: the candidates, in order. ``env``: None for the environment of this process. ``is_reset``:
    signals that a Python ignores are not ignored in the child. ``prepared``, ``becomes``: whether code of the
    program runs in the child before the exec; user, group and groups (``child_policy.Start``).
    """
    handed = _handed
    if handed is None:
        return None
    try:
        environ = os.environ if env is None else {os.fsdecode(n): os.fsdecode(v) for n, v in env.items()}
        words = [os.fsdecode(word) for word in argv]
        where = None if folder is None else os.path.abspath(os.fsdecode(folder))
        if any(number is not None and number >> 32 > 0 for number in (*becomes[:2], *(becomes[2] or ()))):
            raise ValueError("no number of a user or group")
        file, path = _first([_path(each) for each in files], where)
    except (TypeError, AttributeError, ValueError):
        # C raises its own error for such arguments.
        return None
    changed = None if cover.has_all(environ) else cover.environment(environ, handed())
    if _inside and environ.get(_CONFINED) != _inside:
        changed = {**(environ if changed is None else changed), _CONFINED: _inside}
    if not path:
        return None if changed is None else (os.fsdecode(files[0]), words, changed, None)
    if not cover.is_coverable(path):
        placed = None
        if not _inside:
            if env is None:
                # With the variables that we hide from this program: C would pass them on as well.
                environ = load("pywrap.config.variables").complete(os.environ)
                changed = None if changed is None else {**environ, **changed}
            start = load("pywrap.intercept.child_policy").Start(
                where, not is_reset and _ignores_broken_pipes(), prepared, *becomes
            )
            placed = _placed().place(file, path, words, environ if changed is None else changed, start)
        if placed is not None:
            return placed.file, placed.words, placed.environ, placed
    found = cover.command(path, words)
    if found is None:
        return None if changed is None else (file, words, changed, None)
    return (*found, changed, None)


def find_servers() -> None:
    """As ``Children.find_servers``, if any child was started."""
    if _children is not None:
        _children.find_servers()


def _placed() -> Children:
    global _children
    if _children is None:
        assert _settings is not None, "they come with the text"
        _children = load("pywrap.intercept.child_policy").Children(
            _settings, load("pywrap.messages").Messages
        )
    return _children


def _ignores_broken_pipes() -> bool:
    import _signal  # type: ignore[import-not-found]

    return bool(_signal.getsignal(_SIGPIPE) == _signal.SIG_IGN)


def _path(given: Any) -> str:
    # os.execve() takes a descriptor.
    return os.readlink(f"/proc/self/fd/{given}") if isinstance(given, int) else os.fsdecode(given)


def _first(files: list[str], folder: str | None) -> tuple[str, str]:
    """The first of ``files`` that is executable, and its path from the current folder; "" twice for none."""
    for file in files:
        path = file if folder is None else os.path.join(folder, file)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return file, path
    return "", ""
