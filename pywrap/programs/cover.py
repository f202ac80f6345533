"""Makes a child process that is a Python read our start-up file, whatever environment and options it gets.

In the environment, our directory is put first on PYTHONPATH, and our variable is set, also where the program
has replaced or cleaned the environment. A Python with -I, -E or -S reads neither: it is started with our
script ``isolated``, which loads pysocksify and then does what the command line says, so that the options keep
their meaning.
"""

from __future__ import annotations

import os

from pywrap.programs.python import SCRIPT, interpreter_of, is_too_old, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

VARIABLE = "PYSOCKSIFY_SETTINGS"
EVENTLET = "EVENTLET_NO_GREENDNS"
_HERE = os.path.dirname(os.path.abspath(__file__))
# The folder that contains sitecustomize.py and nothing else.
STARTUP = os.path.join(os.path.dirname(_HERE), "launch", "startup")
_LIKE_STARTUP = os.path.join(os.sep, "pywrap", "launch", "startup")
ISOLATED = os.path.join(_HERE, "isolated.py")


def has_all(environ: Mapping[str, str]) -> bool:
    """Whether a Python started with ``environ`` reads our start-up file first, and has settings.

    File and settings may be those of another run: our PROGRAM may be the pysocksify of another installation.
    """
    first = environ.get("PYTHONPATH", "").partition(os.pathsep)[0]
    return bool(environ.get(VARIABLE)) and (first == STARTUP or first.endswith(_LIKE_STARTUP))


def environment(environ: Mapping[str, str], settings: str) -> dict[str, str]:
    """``environ`` with the variables by which a Python reads our start-up file.

    ``settings``: the value of our variable, unless ``environ`` has one.
    """
    changed = dict(environ)
    old = changed.get("PYTHONPATH", "")
    others = [entry for entry in old.split(os.pathsep) if entry != STARTUP] if old else []
    changed["PYTHONPATH"] = os.pathsep.join([STARTUP, *others])
    changed[VARIABLE] = changed.get(VARIABLE) or settings
    # The launcher sets this for eventlet (``launch.environment``); a cleaned environment has lost it too.
    if EVENTLET in os.environ:
        changed.setdefault(EVENTLET, os.environ[EVENTLET])
    return changed


def is_coverable(file: str) -> bool:
    """Whether ``file`` is run by a Python that the patches support."""
    words = interpreter_of(file)
    return words is not None and not is_too_old(words[0] if words else file)


def command(file: str, argv: Sequence[str]) -> tuple[str, list[str]] | None:
    """The file and the arguments to execute instead of ``file`` with ``argv``; None when these can stay.

    They can stay for a program that is not a Python, and for a Python that reads our start-up file.
    """
    words = interpreter_of(file)
    if words is None:
        return None
    python, before = (file, []) if not words else (words[0], list(words[1:]))
    name = argv[0] if argv and not words else python
    given = parse([*before, *argv[1:]])
    if not given.blind:
        return None
    mode = f"{given.mode}-x" if given.mode == SCRIPT and "x" in given.letters else given.mode
    said = [str(len(given.written)), *given.written]
    return python, [name, *given.options, ISOLATED, mode, given.target, *said, *given.arguments]
