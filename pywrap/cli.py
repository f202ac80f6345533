"""The command ``pysocksify``: its options, its help and its messages.

It does not use argparse: its import takes longer than everything else here, it accepts abbreviations of
options, and it cannot leave the options of PROGRAM alone.
"""

from __future__ import annotations

import os
import sys

from pywrap import __version__
from pywrap.config.arguments import NAMES, Arguments
from pywrap.config.config_error import ConfigError, mask
from pywrap.config.options import OPTIONS
from pywrap.config.partial_settings import PartialSettings
from pywrap.config.search import gather, has_file, load, no_file
from pywrap.config.settings import PLACEHOLDERS, Chain, Settings, new_run
from pywrap.config.url import parse_proxy
from pywrap.config.variables import complete
from pywrap.config.words import nearest
from pywrap.frozen import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy

# The exit statuses are those of env(1); 126 and 127 (PROGRAM cannot run, or is not found) come with a
# LaunchError.
FAILED = 125
# 128 + SIGINT: the status that a shell reports for a command that Ctrl-C has ended.
INTERRUPTED = 130

EMBEDDED = "embedded"
ENVIRONMENT = "env"

HINT_ENV = 'eval "$(pysocksify --env [OPTIONS])", and back: eval "$(pysocksify --env=off)"'
HINT_CHECK = "usage: pysocksify [OPTIONS] --check [--json] [URL]..., all options before the URLs"
HINT_REPORT = "usage: pysocksify --report LOG [-o PAGE]"
HINT_WATCH = "it looks once at a run: usage: pysocksify --watch --json [PID]"
HINT_USAGE = "usage: pysocksify [OPTIONS] [--] PROGRAM [ARG]..., and -h for a summary"


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's own; return the exit status on failure."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _run(words)
    except ConfigError as err:
        if _is_for_a_shell(words):
            # In `eval "$(pysocksify --env)"` the exit status is that of the printed commands; without any it
            # would be 0, and the shell would go on without the proxies.
            print("false")
        return _fail(str(err), err.hint)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        return _report_bug()


def _is_for_a_shell(argv: list[str]) -> bool:
    try:
        return Options(argv).action == "--env"
    except ConfigError:
        return "--env" in argv


def _run(argv: list[str]) -> int:
    options = Options(argv)
    urls = [*options.urls, *(options.command if options.action == "--check" else [])]
    if any("@" in url for url in urls):
        from pywrap.launch.argv import hide_passwords

        hide_passwords(urls)
    if options.answer:
        return _print(options.answer)
    if options.action == "--check":
        return _check(options)
    if options.action == "--report":
        from pywrap.launch.report import report

        if options.command:
            raise ConfigError(f"`--report` runs no PROGRAM: `{options.command[0]}`", HINT_REPORT)
        return _print(report(options.file, options.output))
    if options.action == "--watch":
        from pywrap.launch.watch import is_program, watch

        if not is_program(options.command):
            return watch(options.command, options.json)
        if options.json:
            raise ConfigError(f"`--watch --json` starts no PROGRAM: `{options.command[0]}`", HINT_WATCH)
    if options.output is not None and options.action != "--init":
        raise ConfigError("`--output` without `--report` or `--init`", HINT_REPORT)
    if options.json or options.target is not None:
        raise ConfigError(f"`{'--json' if options.json else '--check-target'}` without `--check`", HINT_CHECK)
    if options.action == "--env=off":
        from pywrap.launch.shell import undo

        return _print(undo(os.environ))
    if options.action == "--show-config":
        from pywrap.config.show import show

        said = gather(
            options.partial(), options.config, file_format=options.config_format, say=options.announce
        )
        return _print(show(said, "the bundled server comes first" if options.embedded else ""))
    if options.action == "--init":
        return _init(options)
    if not options.command and options.action != "--env":
        if not (options.urls or options.embedded or options.config or has_file()):
            # With nothing configured, as at a first try, this raises a better error.
            load(options.partial())
        raise ConfigError("no PROGRAM to run", HINT_USAGE)
    settings = load(
        options.partial(), options.config, file_format=options.config_format, say=options.announce
    )
    if options.embedded and settings.chains[0].type in ("random", "round_robin"):
        hint = "a server on this machine comes before all others, and these chains begin anywhere"
        raise ConfigError(f"`-x embedded` in a {settings.chains[0].type} chain", hint)
    if options.action == "--env":
        _refuse_secured(settings.secured_hops)
        from pywrap.launch.shell import exports

        return _print(exports(replace(settings, run=new_run()), complete(os.environ)))

    if options.action == "--watch":
        from pywrap.launch.watch.started import start_and_watch

        watched = start_and_watch()
        if watched is not None:
            return watched
    # Imported here: help, and the errors above, do not need it.
    from pywrap.launch.patch_or_confine import LaunchError, launch

    try:
        launch(settings, options.command, options.embedded, options.publish)
    except LaunchError as err:
        return _fail(str(err), err.hint, err.status)


def _check(options: Options) -> int:
    """Test the proxies instead of starting PROGRAM; the words after the options are their URLs."""
    if options.machine:
        from pywrap.confine.check import check as check_machine

        return _print(*check_machine())
    from pywrap.launch.check import PATIENCE, check, parse_target, paths_of
    from pywrap.launch.check.early_code import early_files

    for word in options.command:
        if word.startswith("-"):
            raise ConfigError(f"an option behind the URLs: `{mask(word)}`", HINT_CHECK)
    partial = options.partial()
    target = None if options.target is None else parse_target(options.target)
    if options.embedded:
        raise ConfigError("nothing to check: `-x embedded` starts together with PROGRAM")
    settings: Settings | None = None
    if not options.command:
        settings = load(partial, options.config, file_format=options.config_format, say=options.announce)
        paths = paths_of(settings.chains)
        if not paths:
            raise ConfigError("nothing to check: the rules of the configuration leave nothing to a proxy")
    elif options.config_format is not None and options.config is None:
        raise no_file(options.config_format)
    elif partial.proxies is None and options.config is None:
        paths = paths_of([Chain((parse_proxy(url),)) for url in options.command])
    else:
        raise ConfigError(f"a URL besides -x or -f: `{mask(options.command[0])}`", HINT_CHECK)
    _refuse_secured(tuple(hop for path in paths for hop in path if hop.is_secured))
    progress = (partial.verbosity or 0) >= 0
    text, status = check(
        paths,
        partial.timeout or PATIENCE,
        target,
        options.json,
        progress,
        settings.placeholders if settings is not None else partial.placeholders or PLACEHOLDERS,
        early_files(),
    )
    return _print(text, status)


def _refuse_secured(hops: tuple[Proxy, ...]) -> None:
    """Raise for ``--env`` and ``--check``, which have no relay for proxies over TLS or with Kerberos."""
    for hop in hops:
        from pywrap.config.url_security import needs_relay

        raise ConfigError(*needs_relay(hop))


def _init(options: Options) -> int:
    """Write a configuration file for the proxies of this machine."""
    from pywrap.launch.init import init

    if options.command:
        raise ConfigError(f"`--init` runs no PROGRAM: `{options.command[0]}`", "`-o FILE` names the file")
    is_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return _print(init(options.output, os.environ, input if is_terminal else None))


# ---------------------------------------------------------------- options

ALIASES = {option.short: option.flag for option in OPTIONS if option.short and option.name != "help"}
# The option of each setting that has one, by its name.
SETTINGS = {option.flag: option.name for option in OPTIONS if option.name in NAMES}
# Options that do something else instead of running PROGRAM.
ACTIONS = ("--show-config", "--env", "--check", "--watch", "--init")
# Options that are on without a value; a value follows a `=`.
SWITCHES = tuple(option.flag for option in OPTIONS if option.metavar.startswith("[="))
WITH_VALUE = tuple(
    option.flag for option in OPTIONS if option.metavar and option.flag not in (*ACTIONS, *SWITCHES)
)
WITHOUT_VALUE = ("-h", *(option.flag for option in OPTIONS if option.flag not in WITH_VALUE))


class Options:
    """The command line, read from left to right.

    Raises:
        ConfigError: an option is unknown, or its value is missing or wrong.
    """

    def __init__(self, argv: list[str]) -> None:
        self.answer = ""
        self.action = ""
        self.config: str | None = None
        self.config_format: str | None = None
        self.embedded = False
        # The values of -x as they were written, including passwords.
        self.urls: list[str] = []
        self.json = False
        self.target: str | None = None
        self.publish: list[str] = []
        # For --report: the files of the log and of the page.
        self.file = ""
        self.output: str | None = None
        # For --check: whether to test this machine (for a confinement), instead of the proxies.
        self.machine = False
        # PROGRAM and its arguments; with --check, URLs.
        self.command: list[str] = []
        self._given = Arguments("command line")
        self._verbosity: int | None = None
        self._words = list(argv)
        self._read()
        self.command = self._words
        if self.action.startswith("--env") and not self.answer:
            self._check_env(argv)

    def partial(self) -> PartialSettings:
        """The settings that the command line has, without proxies where the bundled server comes first."""
        return self._given.partial(without_proxies=self.embedded)

    def announce(self, text: str) -> None:
        """Print ``text``, which names the configuration file in use; not with -q, whatever the file says."""
        if (self._verbosity or 0) >= 0:
            print(f"pysocksify: {text}", file=sys.stderr)

    def _read(self) -> None:
        while self._words and not self.answer:
            word = self._words[0]
            if word == "--":
                del self._words[0]
                break
            if not word.startswith("-") or word == "-":
                break
            del self._words[0]
            if word.startswith("--"):
                self._read_long(word)
            else:
                self._read_short(word)

    def _check_env(self, argv: list[str]) -> None:
        if self.command:
            raise ConfigError(f"`{self.action}` starts nothing: `{self.command[0]}`", HINT_ENV)
        if self.action == "--env=off" and any(word not in (self.action, "--") for word in argv):
            raise ConfigError("`--env=off` takes no other options", HINT_ENV)
        if self.embedded:
            raise ConfigError(
                "`-x embedded` with `--env`", "that server runs as long as the program it is started for"
            )

    def _read_long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        if name == "--confine" and not equals and "--check" in (self.action, *self._words[:1]):
            self.machine = True
        elif name in WITH_VALUE:
            self._set(name, value if equals else self._next_word(name))
        elif name in SWITCHES:
            self._given.take(SETTINGS[name], value if equals else "on", name)
        elif name not in WITHOUT_VALUE:
            raise _unknown_option(name)
        elif word == "--env=off":
            self._act(word)
        elif equals:
            raise ConfigError(f"`{name}` takes no value", HINT_ENV if name == "--env" else "")
        else:
            self._switch(name)

    def _read_short(self, word: str) -> None:
        """Read -q, -vv, -xURL, and what can be joined: -qx URL."""
        for at, letter in enumerate(word[1:], 2):
            option = f"-{letter}"
            name = ALIASES.get(option, option)
            if name in WITH_VALUE:
                self._set(name, word[at:] or self._next_word(option))
                return
            if name not in WITHOUT_VALUE:
                raise _unknown_option(option)
            self._switch(name)

    def _next_word(self, option: str) -> str:
        # A word with a dash is the next option, so the value is missing. A file with such a name is given as
        # in --config=-name.
        if not self._words or (self._words[0].startswith("-") and self._words[0] != "-"):
            raise ConfigError(f"`{option}` needs a value")
        return self._words.pop(0)

    def _set(self, name: str, value: str) -> None:
        match name:
            case "--proxy":
                self._add_proxy(value)
            case "--config":
                self.config = value
            case "--config-format":
                self.config_format = self._given.file_format(value, name)
            case "--check-target":
                self.target = value
            case "--report":
                self.file = value
                self._act(name)
            case "--output":
                self.output = value
            case "--publish":
                self.publish.append(value)
            case _:
                self._given.take(SETTINGS[name], value, name)

    def _switch(self, name: str) -> None:
        match name:
            case "--quiet":
                self._verbosity = -1
            case "--verbose":
                # -v counts from the default verbosity, also after -q.
                self._verbosity = min(max(self._verbosity or 0, 0) + 1, 2)
            case "--json":
                self.json = True
            case "-h" | "--help":
                self.answer = _help(name)
            case "--version":
                self.answer = f"pysocksify {__version__}\n"
            case _ if name in ACTIONS:
                self._act(name)
            case _:
                raise AssertionError(f"in WITHOUT_VALUE and not here: {name}")
        if self._verbosity is not None:
            self._given.take("verbosity", str(self._verbosity))

    def _act(self, action: str) -> None:
        if self.action not in ("", action):
            hint = "each of them is done instead of running PROGRAM"
            raise ConfigError(f"`{action}` besides `{self.action}`", hint)
        self.action = action

    def _add_proxy(self, value: str) -> None:
        if value == ENVIRONMENT:
            self._given.add_environment(complete(os.environ))
        elif value != EMBEDDED:
            self.urls.append(value)
            self._given.add_proxy(value)
        elif self.embedded or self._given.proxies:
            hint = "it runs on this machine, so it is the nearest of the chain"
            raise ConfigError("`-x embedded` comes once, before all other proxies", hint)
        else:
            self.embedded = True


def _help(option: str) -> str:
    from pywrap.help import long_help, short_help

    return short_help() if option == "-h" else long_help()


def _unknown_option(option: str) -> ConfigError:
    near = nearest(option, [*WITH_VALUE, *WITHOUT_VALUE]) if option.startswith("--") else ""
    if near:
        return ConfigError(f"unknown option: `{option}`", f"did you mean `{near}`?")
    return ConfigError(f"unknown option: `{option}`", "options of PROGRAM stand after it; -h shows ours")


# ---------------------------------------------------------------- messages


def _print(text: str, status: int = 0) -> int:
    """Print to stdout; return ``status``, unless that failed."""
    try:
        print(text, end="", flush=True)
    except OSError as err:
        # Python flushes stdout again at exit, and would report the error a second time: to /dev/null instead.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # `pysocksify --help | head -1`: the reader has what it wanted.
        if not isinstance(err, BrokenPipeError):
            return _fail(f"cannot write to stdout: {err.strerror}", "")
    return status


def _fail(message: str, hint: str, status: int = FAILED) -> int:
    print(f"pysocksify: error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return status


def _report_bug() -> int:
    import traceback

    traceback.print_exc()
    return _fail("this is a bug in pysocksify; please report it together with the lines above", "")
