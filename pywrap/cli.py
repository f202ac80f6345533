"""The command ``pysocksify``: its options, its help and its messages.

Not argparse, whose import takes longer than all the rest here, which accepts abbreviations, and which
has no way to leave the options of PROGRAM alone.
"""

from __future__ import annotations

import os
import sys

from pywrap import __version__
from pywrap.config.arguments import NAMES, Arguments
from pywrap.config.partial_settings import PartialSettings
from pywrap.config.search import gather, load, no_file
from pywrap.config.settings import PLACEHOLDERS, Chain, Settings
from pywrap.config.url import parse_proxy
from pywrap.config.variables import complete
from pywrap.config.words import nearest
from pywrap.errors import ConfigError, mask

# As env(1): 126 and 127, PROGRAM cannot run or is not found, come with a LaunchError.
FAILED = 125
# 128 + SIGINT, what a shell reports of a command that Ctrl-C ended.
INTERRUPTED = 130

EMBEDDED = "embedded"
ENVIRONMENT = "env"

SHORT_HELP = """\
Run a Python program with its network traffic sent through SOCKS proxies.

Usage: pysocksify [OPTIONS] [--] PROGRAM [ARG]...

Examples:
  pysocksify -x socks5h://127.0.0.1:9050 python app.py
  pysocksify -x socks5h://first -x socks4a://second pip download six
  pysocksify -x embedded -v python app.py

Proxies:
  -x, --proxy URL        send traffic through URL; repeat for a chain;
                         env: through $ALL_PROXY
  -f, --config FILE      read FILE and no other configuration file
      --config-format F  of that file: proxychains, tsocks, torsocks
      --chain-type TYPE  how a chain is built: strict, dynamic, random,
                         round_robin, with :LENGTH [default: strict]
      --isolate-streams on|off
                         a username of its own for each process
      --pipeline MODE    send all requests at once: off, on, auto
                         [default: off]
      --fast-open on|off the first request in the TCP handshake
      --keep-env         let the program see $ALL_PROXY, $http_proxy and such
      --timeout SECONDS  for a connection through the whole chain [default: 60]
      --connect-timeout SECONDS, --read-timeout SECONDS
                         to the first proxy, and for each answer of a proxy

What goes through them:
      --dns MODE         where names are resolved: remote, tor, local,
                         tcp://HOST[:PORT] [default: remote]
      --placeholders NET the addresses that stand for names until then
                         [default: 198.18.0.0/15]
      --loopback MODE    connections to this machine: direct, proxy, deny
                         [default: direct]
      --direct NET,...   networks, addresses and names that need no proxy
      --route RULE       '[tcp|udp] NET CHAIN|proxy|direct|block'
      --dnat 'A B'       connect to the address B instead of A
      --udp MODE         datagrams: associate (through the proxies), block,
                         direct [default: associate]
      --listen MODE      listening sockets: local, bind (on the last proxy),
                         block [default: local]
      --bind-peer WHO    whom such a socket waits for: latest, any
                         [default: latest]

Instead of running PROGRAM:
      --show-config      print the settings, and where each comes from
      --env              print what wraps a shell: eval "$(pysocksify --env)"
      --env=off          print what undoes that
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
3.11 or later; env, timeout, nice, sudo -E and their like may stand before it.
Options end where PROGRAM begins: what follows belongs to it.
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
        socks5h mean the same here. socks4 cannot carry names at all. http is
        the CONNECT method of HTTP; raw speaks nothing, and passes on what it
        gets. Proxies over TLS (https) are not supported.
        socks, as desktops write it, is socks5h.
        -x env takes the URL from $all_proxy or $ALL_PROXY, and connects
        directly to what is in $no_proxy or $NO_PROXY.
        -x embedded, as the first proxy, starts a SOCKS server on this machine
        for this run.
  -f, --config FILE
        Read FILE, and none of the files listed below.
      --config-format proxychains|tsocks|torsocks
        What FILE is written in. By default its name tells, or its first
        directive.
      --chain-type TYPE[:LENGTH]
        strict, the default: all proxies in order. dynamic: all that are not
        dead, in order. random: LENGTH of them, by default 1. round_robin: as
        many, from where the connection before left off.
      --isolate-streams on|off
        Give SOCKS5 proxies without a username one that no other process has,
        so that Tor builds circuits for each process. The default is off.
      --pipeline off|on|auto
        on: send the requests to all proxies at once, without waiting for their
        answers, which some cannot take. auto: to those known to take it.
      --fast-open on|off
        Send the first request within the TCP handshake, where the system and
        the first proxy allow it. The default is off.
      --keep-env[=on|off]
        Let the program see the variables by which other tools name proxies:
        $ALL_PROXY, $http_proxy, $HTTPS_PROXY, $PIP_PROXY and such, in any
        spelling. By default they are hidden from it, since what it sends to
        these would go through two proxies, or around ours. $NO_PROXY is not.
        Children that are not Python inherit them in any case.
      --timeout SECONDS
        How long a connection through the whole chain may take to come about.
        The default is 60.
      --connect-timeout SECONDS, --read-timeout SECONDS
        How long the first proxy may take to be reached, and each answer of a
        proxy to come. By default, --timeout alone counts.

What goes through them:
      --dns remote|tor|tcp://HOST[:PORT]|local
        remote, the default: names are sent to the last proxy and never looked
        up here. tor: the last proxy, which is Tor, is asked for addresses and
        for the names of addresses. tcp://HOST: that name server is asked for
        them, through the proxies; the port is 53 unless given. local: names are
        looked up here, outside the proxies. With these three the proxies get
        addresses, which is all that socks4 can carry.
      --placeholders NET
        The IPv4 network of the addresses that programs get for names which only
        the last proxy resolves. Nothing else can be reached there. The default
        is 198.18.0.0/15. Python's ipaddress calls these private, so programs
        that refuse private addresses (SSRF guards) refuse every URL: use --dns
        tor or tcp://HOST for those, which give them the real addresses. Of a
        network that passes (192.88.99.0/24, 254 names), they would judge
        nothing: what a name is at the proxy, they do not see.
      --loopback direct|proxy|deny
        Connections to this machine (127.0.0.0/8, ::1, and the addresses of its
        interfaces) are made directly, which is the default, sent through the
        proxies, or refused.
      --direct NET[,NET]...
        Connect directly to these destinations, in addition to those of the
        configuration file. NET is a network (10.0.0.0/8, 10.0.0.0/255.0.0.0,
        fd00::/8), an address, a name, or *.SUFFIX for all names below SUFFIX;
        with :PORT or :PORT-PORT, for those ports alone ([fd00::/8]:443). May
        be repeated, as may --route and --dnat.
      --route '[tcp|udp] NET[,NET]... CHAIN|proxy|direct|block'
        Where connections to NET go, which is * for everything beyond this
        machine: through a chain of the configuration file, through the proxies
        of -x, directly, or nowhere. The first that matches decides, be it of
        --direct or of --route; those of the configuration file come after.
      --dnat 'ADDRESS[:PORT] ADDRESS[:PORT]'
        Where the first is asked for, go to the second. Applied before rules.
      --udp associate|block|direct
        associate, the default: datagrams go through the proxies by UDP
        ASSOCIATE, which only SOCKS5 has; where a proxy refuses that, so do we.
        block: they are refused. direct: they leave directly.
      --listen local|bind|block
        local, the default: a program that listens does so here. bind: what
        listens on port 0 does so on the last proxy, by BIND, as the data
        connections of active FTP have to; a bound port stays local. block: a
        socket listens for this machine alone, or not at all.
      --bind-peer latest|any
        Whom the proxy shall let in there: the host that was connected to last,
        which is the default, or any.

Instead of running PROGRAM:
      --show-config
        Print all settings as a configuration file, passwords masked, with the
        line of the file that each comes from. PROGRAM may follow, and is not
        run.
      --env, --env=off
        Print commands for a shell of the Bourne kind (sh, bash, dash, zsh):
        eval "$(pysocksify --env [OPTIONS])" makes it run every Python program
        through the proxies, --env=off undoes that.
        Programs that are not Python, and python -I, -E and -S, stay direct.
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

Options of one value may be repeated: the last one counts, except for --proxy,
--direct, --route and --dnat, which add up.
What the command line says replaces what the file says; --direct, --route and
--dnat come before what the file says.

Files:
  The first of these is read, and no other:
    FILE of -f
    $PYSOCKSIFY_CONF
    $XDG_CONFIG_HOME/pysocksify/pysocksify.conf
    (by default ~/.config/pysocksify/pysocksify.conf)
    /etc/pysocksify.conf
  The last two are not read when -x names a proxy: what was not named cannot
  weaken what was. A file of the current folder is read when -f names it. What
  is in use is said on stderr, unless -f has named it.
  Their syntax is that of proxychains.conf, with some more directives; files of
  tsocks and of torsocks are understood as well. If a file that was named is
  missing, or there is an error in it, nothing is started.

Environment:
  PYSOCKSIFY_CONF        a configuration file
  XDG_CONFIG_HOME, HOME  where the user's configuration file is
  ALL_PROXY, NO_PROXY    with -x env: the proxy, and what needs none
  PYSOCKSIFY_SETTINGS    set for PROGRAM: the settings it runs under, or the
                         file with them if there is a password in them

Exit status:
  PROGRAM's own. pysocksify turns into PROGRAM: the process, its terminal and
  its signals stay the same. Otherwise
  125    pysocksify failed, and PROGRAM was not started
  126    PROGRAM cannot be executed, or would not be covered
  127    PROGRAM was not found
  With --check, 0: a connection was seen through each proxy that is not raw;
  1: it was not.
"""

HINT_ENV = 'eval "$(pysocksify --env [OPTIONS])", and back: eval "$(pysocksify --env=off)"'
HINT_CHECK = "usage: pysocksify [OPTIONS] --check [--json] [URL]..., all options before the URLs"
HINT_USAGE = "usage: pysocksify [OPTIONS] [--] PROGRAM [ARG]..., and -h for a summary"


def main(argv: list[str] | None = None) -> int:
    """Run the command with ``argv``, by default the process's own; return the exit status on failure."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _run(words)
    except ConfigError as err:
        if _is_for_a_shell(words):
            # For `eval "$(pysocksify --env)"`: to run nothing is success, and the shell would go on as it is.
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
        from pywrap.launch.arguments import hide_passwords

        hide_passwords(urls)
    if options.answer:
        return _print(options.answer)
    if options.action == "--check":
        return _check(options)
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
    if not options.command and options.action != "--env":
        raise ConfigError("no PROGRAM to run", HINT_USAGE)
    settings = load(
        options.partial(), options.config, file_format=options.config_format, say=options.announce
    )
    if options.embedded and settings.chains[0].type in ("random", "round_robin"):
        hint = "a server on this machine comes before all others, and these chains begin anywhere"
        raise ConfigError(f"`-x embedded` in a {settings.chains[0].type} chain", hint)
    if options.action == "--env":
        from pywrap.launch.shell import exports

        return _print(exports(settings, complete(os.environ)))

    # Here, not on top: help and the errors above need none of it.
    from pywrap.launch.command import LaunchError, launch

    try:
        launch(settings, options.command, options.embedded)
    except LaunchError as err:
        return _fail(str(err), err.hint, err.status)


def _check(options: Options) -> int:
    """Test the proxies, where others would start PROGRAM; WORDS are URLs then."""
    from pywrap.launch.check import PATIENCE, check, parse_target, paths_of

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
    progress = (partial.verbosity or 0) >= 0
    text, status = check(
        paths,
        partial.timeout or PATIENCE,
        target,
        options.json,
        progress,
        settings.placeholders if settings is not None else partial.placeholders or PLACEHOLDERS,
    )
    return _print(text, status)


# ---------------------------------------------------------------- options

ALIASES = {"-x": "--proxy", "-f": "--config", "-q": "--quiet", "-v": "--verbose"}
# The option of each setting that has one, by its name.
SETTINGS = {f"--{name.replace('_', '-')}": name for name in NAMES if name != "verbosity"}
# On without a value, which follows a = if there is one.
SWITCHES = ("--keep-env",)
WITH_VALUE = (
    *("--proxy", "--config", "--config-format", "--check-target"),
    *(name for name in SETTINGS if name not in SWITCHES),
)
# What is done instead of running PROGRAM.
ACTIONS = ("--show-config", "--env", "--check")
WITHOUT_VALUE = ("--quiet", "--verbose", "--json", "-h", "--help", "--version", *ACTIONS, *SWITCHES)


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
        # Proxies, as they were written.
        self.urls: list[str] = []
        self.json = False
        self.target: str | None = None
        # With --check, URLs.
        self.command: list[str] = []
        self._given = Arguments("command line")
        self._verbosity: int | None = None
        self._words = list(argv)
        self._read()
        self.command = self._words
        if self.action.startswith("--env") and not self.answer:
            self._check_env(argv)

    def partial(self) -> PartialSettings:
        return self._given.partial(without_proxies=self.embedded)

    def announce(self, text: str) -> None:
        """Say which configuration file is in use; not with -q, whatever the file says."""
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
        if name in WITH_VALUE:
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
            case "--config-format":
                self.config_format = self._given.file_format(value, name)
            case "--check-target":
                self.target = value
            case _:
                self._given.take(SETTINGS[name], value, name)

    def _switch(self, name: str) -> None:
        match name:
            case "--quiet":
                self._verbosity = -1
            case "--verbose":
                # Counted from the default, also after -q.
                self._verbosity = min(max(self._verbosity or 0, 0) + 1, 2)
            case "--json":
                self.json = True
            case "-h":
                self.answer = SHORT_HELP
            case "--help":
                self.answer = LONG_HELP
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
        # What is left in the buffer is written once more at the exit, to nobody.
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
