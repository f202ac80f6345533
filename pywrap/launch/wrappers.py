"""Programs that run another one: ``timeout 5 python app.py``, ``env FOO=1 python``, ``sudo -E python``.

The table has their names and options, which are those of coreutils, util-linux, GNU time, sudo, expect, uv
and Debian's xvfb-run. An option that is not in the table is an error: it may take the next word, so the
program is not known. Variables that a wrapper removes from the environment are added again to the command
after it, as arguments of ``env``.
"""

from __future__ import annotations

import os

from pywrap.frozen import frozen
from pywrap.launch.launch_error import NotCovered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# The variables that a Python needs to find our start-up file, and eventlet to be covered.
NEEDED = ("PYTHONPATH", "PYSOCKSIFY_SETTINGS", "EVENTLET_NO_GREENDNS")


@frozen
class Wrapper:
    """The command line of a wrapper, up to the command that it runs.

    ``flags``, ``long_flags``: the options without a value, short ones as letters, long ones without dashes.
    ``valued``, ``long_valued``: those with a value. ``attached``: long options whose value is optional, and
    follows a ``=``. ``places``: the number of arguments before the command. ``elsewhere``: options with which
    the wrapper runs no command.
    """

    flags: str = ""
    valued: str = ""
    long_flags: tuple[str, ...] = ()
    long_valued: tuple[str, ...] = ()
    attached: tuple[str, ...] = ()
    places: int = 0
    elsewhere: tuple[str, ...] = ()


WRAPPERS = {
    "env": Wrapper(
        *("iv0", "uCSa"),
        ("ignore-environment", "debug", "null", "list-signal-handling"),
        ("unset", "chdir", "split-string", "argv0"),
        ("block-signal", "default-signal", "ignore-signal"),
    ),
    "timeout": Wrapper(
        "v", "ks", ("foreground", "preserve-status", "verbose"), ("kill-after", "signal"), places=1
    ),
    "nice": Wrapper("0123456789", "n", (), ("adjustment",)),
    "nohup": Wrapper(),
    "setsid": Wrapper("cfw", "", ("ctty", "fork", "wait")),
    "stdbuf": Wrapper("", "ioe", (), ("input", "output", "error")),
    "ionice": Wrapper("t", "cn", ("ignore",), ("class", "classdata"), elsewhere=("p", "P", "u", "pid")),
    "chrt": Wrapper(
        *("bdfiorRv", "TPD"),
        ("batch", "deadline", "fifo", "idle", "other", "rr", "reset-on-fork", "verbose"),
        ("sched-runtime", "sched-period", "sched-deadline"),
        places=1,
        elsewhere=("p", "m", "a", "pid", "max", "all-tasks"),
    ),
    "taskset": Wrapper("c", "", ("cpu-list",), places=1, elsewhere=("p", "a", "pid", "all-tasks")),
    "time": Wrapper(*("apqv", "fo"), ("append", "portability", "quiet", "verbose"), ("format", "output")),
    "flock": Wrapper(
        *("sxeonF", "wE"),
        ("shared", "exclusive", "nonblock", "close", "no-fork", "verbose"),
        ("timeout", "conflict-exit-code"),
        places=1,
        elsewhere=("c", "u", "command", "unlock"),
    ),
    "choom": Wrapper("", "n", (), ("adjust",), elsewhere=("p", "pid")),
    "catchsegv": Wrapper(),
    "unbuffer": Wrapper("p"),
    "dbus-run-session": Wrapper("", "", (), ("config-file", "dbus-daemon")),
    "xvfb-run": Wrapper(
        *("al", "efnpsw"),
        ("auto-servernum", "listen-tcp"),
        ("error-file", "auth-file", "server-num", "xauth-protocol", "server-args", "wait"),
    ),
    "sudo": Wrapper(
        *("ABbEHkNnPS", "CDghpRrtTu"),
        (
            *("askpass", "background", "bell", "set-home", "reset-timestamp", "non-interactive"),
            *("preserve-groups", "stdin"),
        ),
        (
            *("close-from", "chdir", "group", "host", "prompt", "chroot", "role", "type", "command-timeout"),
            "user",
        ),
        ("preserve-env",),
        elsewhere=("e", "i", "K", "l", "s", "v", "V", "edit", "login", "list", "shell"),
    ),
}


# Of `uv run`. Options that make it install something are left out: it must run with --offline.
WRAPPERS["uv"] = Wrapper(
    *("mnqsv", "pw"),
    (
        *("offline", "no-sync", "frozen", "locked", "isolated", "active", "no-project", "no-config"),
        *("no-cache", "quiet", "verbose", "exact", "no-dev", "all-extras", "all-groups", "module", "script"),
        *("no-env-file", "managed-python", "no-managed-python", "no-python-downloads", "no-progress"),
    ),
    (
        *("python", "with", "with-editable", "with-requirements", "extra", "group", "env-file", "directory"),
        *("project", "package", "color", "cache-dir", "config-file"),
    ),
)

# `pyenv exec python` runs what the shim on $PATH runs.
VERSION_MANAGERS = ("pyenv", "asdf", "mise", "rtx")


class Command:
    """A command line, in which ``enter`` goes from a wrapper to the command that the wrapper runs.

    ``words``: the command line. ``at``: the index of the innermost command so far. ``path``: where that
    command is searched, None for $PATH. ``folder``: its current folder. ``is_python``: it is known to be run
    by a Python. ``has_other_path``: it is searched along an unknown path (sudo's ``secure_path``).
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self.at = 0
        self.path: str | None = None
        self.folder = ""
        self.is_python = False
        self.has_other_path = False
        # The places for assignments of NEEDED: the index, the words to put before them, and whether
        # PYTHONPATH is to contain only our folder.
        self._said: list[tuple[int, tuple[str, ...], bool]] = []
        # The indices of words `PYTHONPATH=…` of env.
        self._python_paths: list[int] = []

    def enter(self) -> bool:
        """Go from a wrapper to the command that it runs; return False if this is no known wrapper.

        Raises:
            NotCovered: the wrapper runs no command that could be covered.
        """
        name = os.path.basename(self.words[self.at])
        wrapper = WRAPPERS.get(name)
        if name in VERSION_MANAGERS and self.words[self.at + 1 : self.at + 2] == ["exec"]:
            self.at += 1
            wrapper = Wrapper()
        if wrapper is None:
            return False
        self.at += 1
        if name == "uv":
            if self.words[self.at : self.at + 1] != ["run"]:
                return False
            self.at += 1
        given = self._options(name, wrapper)
        if name == "env":
            self._env(given)
        elif name == "sudo":
            self._sudo(given)
        elif name == "uv":
            self._uv(given)
        self.at += wrapper.places
        if self.at >= len(self.words):
            raise NotCovered(f"`{name}` has no program to run", f"`pysocksify {name} … python app.py`")
        if self.words[self.at] == "--":
            # The wrappers of util-linux, which use getopt(3), accept a -- here too.
            self.at += 1
        return True

    @property
    def says_settings(self) -> bool:
        """Whether ``with_environment`` puts NEEDED into the words, which every user can read."""
        return bool(self._said)

    def with_environment(self, environ: Mapping[str, str]) -> list[str]:
        """The command line, changed so that the innermost command gets NEEDED as in ``environ``."""
        words = list(self.words)
        needed = {name: environ[name] for name in NEEDED if name in environ}
        startup = environ["PYTHONPATH"].partition(os.pathsep)[0]
        for at in self._python_paths:
            theirs = words[at].partition("=")[2]
            words[at] = f"PYTHONPATH={os.pathsep.join([startup, theirs] if theirs else [startup])}"
        for at, before, alone in reversed(self._said):
            said = {**needed, "PYTHONPATH": startup} if alone else needed
            words[at:at] = [*before, *(f"{name}={value}" for name, value in said.items())]
        return words

    def _options(self, name: str, wrapper: Wrapper) -> dict[str, list[str]]:
        """Skip the options; return their values, "" for options without one."""
        given: dict[str, list[str]] = {}
        while self.at < len(self.words):
            word = self.words[self.at]
            if word == "--":
                self.at += 1
                break
            if not word.startswith("-") or (word == "-" and name != "env"):
                break
            self.at += 1
            if word == "-":
                given.setdefault("i", []).append("")
            elif word.startswith("--"):
                start = self.at - 1
                option, equals, value = word[2:].partition("=")
                option = self._long(name, wrapper, option)
                if option in wrapper.long_valued and not equals:
                    value = self._take(name, word)
                if (name, option) == ("env", "split-string"):
                    self._split(value, start)
                given.setdefault(option, []).append(value)
            else:
                self._short(name, wrapper, word, given)
        return given

    def _long(self, name: str, wrapper: Wrapper, option: str) -> str:
        known = (*wrapper.long_flags, *wrapper.long_valued, *wrapper.attached)
        # getopt_long(3) accepts unambiguous abbreviations.
        found = [each for each in known if each == option] or [
            each for each in known if each.startswith(option)
        ]
        if len(found) != 1:
            raise self._no_command(name, wrapper, option, f"--{option}")
        return found[0]

    def _short(self, name: str, wrapper: Wrapper, word: str, given: dict[str, list[str]]) -> None:
        start = self.at - 1
        for at, letter in enumerate(word[1:], 2):
            if letter in wrapper.valued:
                value = word[at:] or self._take(name, word)
                if (name, letter) == ("env", "S"):
                    self._split(value, start)
                given.setdefault(letter, []).append(value)
                return
            if letter not in wrapper.flags:
                raise self._no_command(name, wrapper, letter, f"-{letter}")
            given.setdefault(letter, []).append("")

    def _split(self, text: str, start: int) -> None:
        """Replace ``-S TEXT`` of env(1), which begins at index ``start``, by the words of TEXT."""
        # Imported here, as few commands have this option.
        import shlex

        # env -S has escapes and variables that shlex does not know.
        if "\\" in text or "$" in text:
            raise NotCovered("`env -S` with more than plain words cannot be looked through")
        try:
            self.words[start : self.at] = shlex.split(text)
        except ValueError as err:
            raise NotCovered(f"cannot read `env -S`: {err}") from err
        self.at = start

    def _take(self, name: str, option: str) -> str:
        if self.at >= len(self.words):
            raise NotCovered(f"`{name} {option}` needs a value")
        self.at += 1
        return self.words[self.at - 1]

    @staticmethod
    def _no_command(name: str, wrapper: Wrapper, option: str, shown: str) -> NotCovered:
        if option in wrapper.elsewhere:
            return NotCovered(f"`{name} {shown}` runs no program that could be covered")
        hint = f"put pysocksify behind it: `{name} … pysocksify … python app.py`"
        return NotCovered(f"`{name} {shown}` is not known here, and so not what it would run", hint)

    def _env(self, given: dict[str, list[str]]) -> None:
        unset = {*given.get("u", []), *given.get("unset", [])}
        if "PYSOCKSIFY_SETTINGS" in unset:
            raise NotCovered(
                "`env -u PYSOCKSIFY_SETTINGS` takes pysocksify's settings out of the environment"
            )
        for folder in (*given.get("C", []), *given.get("chdir", [])):
            self.folder = os.path.join(self.folder, folder)
        if "i" in given or "ignore-environment" in given:
            # execvp(3) searches this path when there is no $PATH.
            self.path = os.defpath
            self._said.append((self.at, (), True))
        elif "PYTHONPATH" in unset:
            self._said.append((self.at, (), True))
        while self.at < len(self.words) and "=" in self.words[self.at]:
            name, _, value = self.words[self.at].partition("=")
            if name == "PYTHONPATH":
                self._python_paths.append(self.at)
            elif name == "PYSOCKSIFY_SETTINGS":
                raise NotCovered("`env PYSOCKSIFY_SETTINGS=…` takes pysocksify's settings away")
            elif name == "PATH":
                self.path = value
            self.at += 1

    def _sudo(self, given: dict[str, list[str]]) -> None:
        if "E" not in given and "" not in given.get("preserve-env", []):
            raise NotCovered(
                "`sudo` takes pysocksify's settings out of the environment",
                "`pysocksify sudo -E python app.py`, or `sudo pysocksify python app.py`",
            )
        while self.at < len(self.words) and "=" in self.words[self.at]:
            if self.words[self.at].startswith(tuple(f"{name}=" for name in NEEDED)):
                raise NotCovered(
                    f"`sudo {self.words[self.at].partition('=')[0]}=…` contradicts pysocksify's own",
                    "`sudo -E env PYTHONPATH=… python app.py`",
                )
            self.at += 1
        self.has_other_path = True
        # Even with -E, sudo 1.9.13 removes PYTHONPATH, and its configuration may remove more.
        self._said.append((self.at, ("env",), False))
        for folder in (*given.get("D", []), *given.get("chdir", [])):
            self.folder = os.path.join(self.folder, folder)

    def _uv(self, given: dict[str, list[str]]) -> None:
        if "offline" not in given and os.environ.get("UV_OFFLINE", "").lower() not in ("1", "true"):
            raise NotCovered(
                "`uv run` would ask its package index directly",
                "`pysocksify uv run --offline …`, if it has what it needs; or `pysocksify .venv/bin/python`",
            )
        for folder in given.get("directory", []):
            self.folder = os.path.join(self.folder, folder)
        word = self.words[self.at] if self.at < len(self.words) else ""
        # uv runs these with its Python. Any other command it searches in its virtual environment first.
        self.is_python = bool(word) and (
            not {"m", "module", "s", "script"}.isdisjoint(given)
            or word == "-"
            or word.endswith((".py", ".pyw", ".pyz"))
        )
        venv = os.environ.get("UV_PROJECT_ENVIRONMENT") or os.path.join(self.folder, ".venv")
        if "active" in given:
            venv = os.environ.get("VIRTUAL_ENV", venv)
        self.path = os.pathsep.join((os.path.join(venv, "bin"), os.environ.get("PATH", os.defpath)))
