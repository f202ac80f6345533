"""The command ``pysocksify``: its options, its help and its messages.

Not argparse, whose import takes longer than all the rest here, which accepts abbreviations, and which
has no way to leave the options of PROGRAM alone.
"""

from __future__ import annotations

import os
import sys

from pywrap import __version__
from pywrap.config.choices import Choices
from pywrap.config.rules import parse_directs
from pywrap.config.search import load
from pywrap.config.settings import DNS, LISTEN, LOOPBACK, UDP, Proxy, Rule
from pywrap.config.url import mask, parse_proxy
from pywrap.config.words import nearest, one_of, seconds
from pywrap.errors import ConfigError

# As env(1): 126 and 127, PROGRAM cannot run or is not found, come with a LaunchError.
FAILED = 125
# 128 + SIGINT, what a shell reports of a command that Ctrl-C ended.
INTERRUPTED = 130

EMBEDDED = "embedded"

SHORT_HELP = """\
Run a Python program with its network traffic sent through SOCKS proxies.

Usage: pysocksify [OPTIONS] [--] PROGRAM [ARG]...

Examples:
  pysocksify -x socks5h://127.0.0.1:9050 python app.py
  pysocksify -x socks5h://first -x socks4a://second pip download six
  pysocksify -x embedded -v python app.py

Proxies:
  -x, --proxy URL        send traffic through URL; repeat for a chain
  -f, --config FILE      read FILE and no other configuration file
      --timeout SECONDS  for a connection through the whole chain [default: 60]

What goes through them:
      --dns MODE         where names are resolved: remote, local
                         [default: remote]
      --loopback MODE    connections to this machine: direct, proxy, deny
                         [default: direct]
      --direct NET,...   networks, addresses and names that need no proxy
      --udp MODE         datagrams: associate (through the proxies), block,
                         direct [default: associate]
      --listen MODE      listening sockets: local, bind (on the last proxy)
                         [default: local]

Instead of running a program:
      --check [URL]...   test the proxies, and say what they can do
      --check-target HOST:PORT
                         ask them for a connection there
      --json             with --check: for scripts

Messages, on stderr:
  -q                     errors only
  -v, -vv                a line for each connection; more
  -h, --help             this summary; everything
      --version          the version

Exit status: PROGRAM's own, or 125 pysocksify failed, 126 PROGRAM cannot run,
127 PROGRAM not found.
"""

LONG_HELP = """\
Run a Python program with its network traffic sent through SOCKS proxies.

Usage: pysocksify [OPTIONS] [--] PROGRAM [ARG]...
       pysocksify [OPTIONS] --check [--json] [URL]...

PROGRAM is an interpreter (python app.py, python -m module), a console script
(pip, uvicorn), a script with a Python shebang (./app.py) or a zipapp, of Python
3.11 or later. Options end where PROGRAM begins: what follows belongs to it.
What cannot be sent through the proxies is refused, never sent directly.

Examples:
  pysocksify -x socks5h://127.0.0.1:9050 python app.py
  pysocksify -x socks5h://alice:s%20cret@proxy.example:1080 ./app.py
  pysocksify -x socks5h://first -x socks4a://second pip download six
  pysocksify -x socks5h://first --direct 10.0.0.0/8,'*.corp' ./app.py
  pysocksify -f work.conf -v uvicorn app:main

Proxies:
  -x, --proxy URL
        Send traffic through the proxy at URL, written as for curl:
        SCHEME://[USER[:PASSWORD]@]HOST[:PORT]. SCHEME is socks4, socks4a,
        socks5 or socks5h. The port is 1080 unless given, an IPv6 address is
        written [::1], and %XX in USER and PASSWORD stands for a byte.
        Repeated, the proxies form a chain, the nearest first. They replace
        those of the configuration file.
        Who resolves names is decided by --dns, not by the scheme: socks5 and
        socks5h mean the same here. socks4 cannot carry names at all.
        -x embedded, as the first proxy, starts a SOCKS server on this machine
        for this run.
  -f, --config FILE
        Read FILE, and none of the files listed below.
      --timeout SECONDS
        How long a connection through the whole chain may take to come about.
        The default is 60.

What goes through them:
      --dns remote|local
        remote, the default: names are sent to the last proxy and never looked
        up here. local: names are looked up here, outside the proxies, and the
        proxies get addresses.
      --loopback direct|proxy|deny
        Connections to this machine (127.0.0.0/8, ::1) are made directly, which
        is the default, sent through the proxies, or refused.
      --direct NET[,NET]...
        Connect directly to these destinations, in addition to those of the
        configuration file. NET is a network (10.0.0.0/8, 10.0.0.0/255.0.0.0,
        fd00::/8), an address, a name, or *.SUFFIX for all names below SUFFIX;
        with :PORT, for that port alone ([fd00::/8]:443). May be repeated.
      --udp associate|block|direct
        associate, the default: datagrams go through the proxies by UDP
        ASSOCIATE, which only SOCKS5 has; where a proxy refuses that, so do we.
        block: they are refused. direct: they leave directly.
      --listen local|bind
        local, the default: a program that listens does so here. bind: what
        listens on port 0 does so on the last proxy, by BIND, as the data
        connections of active FTP have to; a bound port stays local.

Instead of running a program:
  --check [URL]...
        Test the proxies at these URLs, or those of -x or of the configuration
        file, and of a chain each by itself and then through those before it.
        What they can do is printed as a table, and what is wrong in words. No
        third party takes part: a proxy on this machine is asked for a listener
        of ours, any other for its own address and then for a listener at ours.
        --timeout is for each question then, and 5 by default. If a proxy fails,
        it is told whether python-socks and PySocks, where installed, do better.
  --check-target HOST:PORT
        With --check: ask for a connection to this destination instead, for
        proxies that reach none of these, as `ssh -D` to another machine.
  --json
        With --check: print JSON. Its keys stay as they are.

Messages, on stderr:
  -q, --quiet
        Errors only.
  -v, --verbose
        A line for each connection; -vv says more.
  -h    A summary of this text.
      --help
        This text.
      --version
        The version of pysocksify.

--config, --timeout, --dns, --loopback, --udp and --listen may be repeated: the
last one counts.
What the command line says replaces what the file says, except for --direct.

Files:
  The first of these is read, and no other:
    FILE of -f
    $PYSOCKSIFY_CONF
    ./pysocksify.conf
    $XDG_CONFIG_HOME/pysocksify/pysocksify.conf
    (by default ~/.config/pysocksify/pysocksify.conf)
    /etc/pysocksify.conf
  Their syntax is that of proxychains.conf, with some more directives. If a file
  that was named is missing, or there is an error in it, nothing is started.

Environment:
  PYSOCKSIFY_CONF        a configuration file
  XDG_CONFIG_HOME, HOME  where the user's configuration file is
  PYSOCKSIFY_SETTINGS    set for PROGRAM: the settings it runs under

Exit status:
  PROGRAM's own. pysocksify turns into PROGRAM: the process, its terminal and
  its signals stay the same. Otherwise
  125    pysocksify failed, and PROGRAM was not started
  126    PROGRAM cannot be executed, or would not be covered
  127    PROGRAM was not found
  With --check, 0: a connection was seen through each proxy; 1: it was not.
"""

HINT_CHECK = "usage: pysocksify [OPTIONS] --check [--json] [URL]..., all options before the URLs"
HINT_USAGE = "usage: pysocksify [OPTIONS] [--] PROGRAM [ARG]..., and -h for a summary"


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's own; return the exit status on failure."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except ConfigError as err:
        return _fail(str(err), err.hint)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception:
        return _report_bug()


def _run(argv: list[str]) -> int:
    options = Options(argv)
    if options.answer:
        return _print(options.answer)
    if options.check:
        return _check(options)
    if options.json or options.target is not None:
        raise ConfigError(f"`{'--json' if options.json else '--check-target'}` without `--check`", HINT_CHECK)
    if not options.command:
        raise ConfigError("no PROGRAM to run", HINT_USAGE)
    settings = load(options.choices(), options.config)

    # Here, not on top: help and the errors above need none of it.
    from pywrap.launch.command import LaunchError, launch

    try:
        launch(settings, options.command, options.embedded)
    except LaunchError as err:
        return _fail(str(err), err.hint, err.status)


def _check(options: Options) -> int:
    """Test the proxies, where others would start PROGRAM; WORDS are URLs then."""
    from pywrap.launch.doctor import PATIENCE, check, parse_target, paths_of

    for word in options.command:
        if word.startswith("-"):
            raise ConfigError(f"an option behind the URLs: `{mask(word)}`", HINT_CHECK)
    choices = options.choices()
    target = None if options.target is None else parse_target(options.target)
    if options.embedded:
        raise ConfigError("nothing to check: `-x embedded` starts together with PROGRAM")
    if not options.command:
        paths = paths_of(load(choices, options.config).chains)
        if not paths:
            raise ConfigError("nothing to check: the rules of the configuration leave nothing to a proxy")
    elif choices.proxies is None and options.config is None:
        paths = {(parse_proxy(url),): True for url in options.command}
    else:
        raise ConfigError(f"a URL besides -x or -f: `{mask(options.command[0])}`", HINT_CHECK)
    progress = (choices.verbosity or 0) >= 0
    text, status = check(paths, choices.timeout or PATIENCE, target, options.json, progress)
    _print(text)
    return status


# ---------------------------------------------------------------- options

ALIASES = {"-x": "--proxy", "-f": "--config", "-q": "--quiet", "-v": "--verbose"}
WITH_VALUE = (
    "--proxy",
    "--config",
    "--dns",
    "--loopback",
    "--direct",
    "--udp",
    "--listen",
    "--timeout",
    "--check-target",
)
WITHOUT_VALUE = ("--quiet", "--verbose", "--check", "--json", "-h", "--help", "--version")


class Options:
    """The command line, read from left to right.

    Raises:
        ConfigError: an option is unknown, or its value is missing or wrong.
    """

    def __init__(self, argv: list[str]) -> None:
        self.answer = ""
        self.config: str | None = None
        self.embedded = False
        self.check = False
        self.json = False
        self.target: str | None = None
        # With --check, URLs.
        self.command: list[str] = []
        self._proxies: list[Proxy] = []
        self._dns: str | None = None
        self._loopback: str | None = None
        self._rules: list[Rule] = []
        self._udp: str | None = None
        self._listen: str | None = None
        self._timeout: float | None = None
        self._verbosity: int | None = None
        self._words = list(argv)
        self._read()

    def choices(self) -> Choices:
        return Choices(
            proxies=tuple(self._proxies) if self._proxies or self.embedded else None,
            dns=self._dns,
            loopback=self._loopback,
            rules=tuple(self._rules),
            udp=self._udp,
            listen=self._listen,
            timeout=self._timeout,
            verbosity=self._verbosity,
        )

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
        self.command = self._words

    def _read_long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        if name in WITH_VALUE:
            self._set(name, value if equals else self._next_word(name))
        elif name not in WITHOUT_VALUE:
            raise _unknown_option(name)
        elif equals:
            raise ConfigError(f"`{name}` takes no value")
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
        # No value begins with a dash, but the next option does. A file of such a name: --config=-name.
        if not self._words or self._words[0].startswith("-"):
            raise ConfigError(f"`{option}` needs a value")
        return self._words.pop(0)

    def _set(self, name: str, value: str) -> None:
        match name:
            case "--proxy":
                self._add_proxy(value)
            case "--config":
                self.config = value
            case "--dns":
                self._dns = one_of(DNS, value, name)
            case "--loopback":
                self._loopback = one_of(LOOPBACK, value, name)
            case "--direct":
                self._rules += parse_directs(value)
            case "--udp":
                self._udp = one_of(UDP, value, name)
            case "--listen":
                self._listen = one_of(LISTEN, value, name)
            case "--timeout":
                self._timeout = seconds(value, name)
            case "--check-target":
                self.target = value
            case _:
                raise AssertionError(f"in WITH_VALUE and not here: {name}")

    def _switch(self, name: str) -> None:
        match name:
            case "--quiet":
                self._verbosity = -1
            case "--verbose":
                # Counted from the default, also after -q.
                self._verbosity = min(max(self._verbosity or 0, 0) + 1, 2)
            case "--check":
                self.check = True
            case "--json":
                self.json = True
            case "-h":
                self.answer = SHORT_HELP
            case "--help":
                self.answer = LONG_HELP
            case "--version":
                self.answer = f"pysocksify {__version__}\n"
            case _:
                raise AssertionError(f"in WITHOUT_VALUE and not here: {name}")

    def _add_proxy(self, value: str) -> None:
        if value != EMBEDDED:
            self._proxies.append(parse_proxy(value))
        elif self.embedded or self._proxies:
            hint = "it runs on this machine, so it is the nearest of the chain"
            raise ConfigError("`-x embedded` comes once, before all other proxies", hint)
        else:
            self.embedded = True


def _unknown_option(option: str) -> ConfigError:
    near = nearest(option, [*WITH_VALUE, *WITHOUT_VALUE]) if option.startswith("--") else ""
    if near:
        return ConfigError(f"unknown option: `{option}`", f"did you mean `{near}`?")
    return ConfigError(f"unknown option: `{option}`", "options of PROGRAM stand after it; -h shows ours")


# ---------------------------------------------------------------- messages


def _print(text: str) -> int:
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        # `pysocksify --help | head -1`: the reader has what it wanted. What is left in the buffer is
        # written once more at the exit, to nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0


def _fail(message: str, hint: str, status: int = FAILED) -> int:
    print(f"pysocksify: error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return status


def _report_bug() -> int:
    import traceback

    traceback.print_exc()
    return _fail("this is a bug in pysocksify; please report it together with the lines above", "")
