"""The table of options, from which the command line, files, ``install()``, help and manual are derived.

An option with ``read`` is a setting: ``name`` is the field of ``Settings``, the directive of a configuration
file, the keyword of ``pywrap.install()`` and, with dashes, the option of the command. To add a setting, add
the field to ``Settings`` and a row here. ``cli`` handles the options without ``read`` itself.
"""

from __future__ import annotations

from pywrap.config import values
from pywrap.config.settings import (
    BIND_PEER,
    CHAIN_TYPES,
    CHILDREN,
    CONFINE,
    DNS,
    FOREIGN,
    LISTEN,
    LOOPBACK,
    PIPELINE,
    UDP,
)
from pywrap.config.words import one_of, seconds, switch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.values import Reader

PROXIES = "Proxies"
TRAFFIC = "What goes through the proxies"
ACTIONS = "Instead of running PROGRAM"
MESSAGES = "Messages, on stderr"
GROUPS = (PROXIES, TRAFFIC, ACTIONS, MESSAGES)


class Option:
    """One option. (Not ``frozen``, which takes longer: at each start all options are made.)

    ``summary``: its line in -h. ``text``: its paragraphs in --help and the manual. ``metavar``: the name of
    its value, "" when it takes none; ``brief``: a shorter one for -h. ``words``: the possible values, if they
    can be listed. ``read``: the function that reads the value. ``adds``: whether the values of a repeated
    option add up. ``directive``: its name in files if that is another, "-" when files have another form.
    """

    def __init__(
        self,
        name: str,
        group: str,
        summary: str,
        text: str,
        metavar: str = "",
        brief: str = "",
        short: str = "",
        words: tuple[str, ...] = (),
        read: Reader | None = None,
        adds: bool = False,
        directive: str = "",
    ) -> None:
        self.name = name
        self.group = group
        self.summary = summary
        self.text = text
        self.metavar = metavar
        self.brief = brief
        self.short = short
        self.words = words
        self.read = read
        self.adds = adds
        self.directive = directive
        self.flag = "--" + name.replace("_", "-")


def _one_of(words: tuple[str, ...]) -> Reader:
    return lambda text, what: one_of(words, text, what)


def _verbosity(text: str, what: str) -> int:
    return int(one_of(values.VERBOSITIES, text, what))


_SWITCH = ("on", "off")

OPTIONS = (
    # ------------------------------------------------------------ proxies
    Option(
        "proxy",
        PROXIES,
        "send traffic through URL; repeat for a chain; env: through $ALL_PROXY",
        """\
Send traffic through the proxy at URL, written as for curl: SCHEME://[USER[:PASSWORD]@]HOST[:PORT]. SCHEME
is socks4, socks4a, socks5 or socks5h. The port is 1080 unless given, an IPv6 address is written [::1], and
%XX in USER and PASSWORD stands for a byte. Repeated, the proxies form a chain, the nearest first. They
replace those of the configuration file.

Where names are resolved is decided by --dns, not by the scheme: socks5 and socks5h mean the same here.
socks4 cannot carry names at all. http is the CONNECT method of HTTP; raw has no protocol, and passes on
what it gets. socks, as desktops write it, is socks5h.

With +tls behind SCHEME (socks5h+tls://HOST:PORT?ca=FILE; https is http+tls), the connection to the proxy is
within TLS. The certificate is verified: for HOST, or name=NAME; by the system's authorities, or ca=FILE; or
by pin=SHA256 alone, its fingerprint. cert=FILE is a certificate of the client, with its key. ?gssapi, or
?gssapi=SERVICE/HOST, authenticates at a SOCKS5 proxy by Kerberos; protection=none|integrity|confidentiality
is the least protection that messages may have. Such proxies need a relay, so PROGRAM is confined (--confine),
and they have no UDP.

-x env takes the URL from $all_proxy or $ALL_PROXY, and connects directly to what is in $no_proxy or
$NO_PROXY.

-x embedded, as the first proxy, starts a SOCKS server on this machine for this run.""",
        "URL",
        short="-x",
        adds=True,
    ),
    Option(
        "config",
        PROXIES,
        "read FILE and no other configuration file",
        "Read FILE, and none of the files listed below.",
        "FILE",
        short="-f",
    ),
    Option(
        "config_format",
        PROXIES,
        "the format of that file: proxychains, tsocks, torsocks",
        "The format of FILE. By default it is recognised by the name of FILE, or by its first directive.",
        "FORMAT",
        "F",
        words=("proxychains", "tsocks", "torsocks"),
    ),
    Option(
        "chain_type",
        PROXIES,
        "how a chain is built: strict, dynamic, random, round_robin, with :LENGTH [default: strict]",
        """\
strict, the default: all proxies in order. dynamic: all that are not dead, in order. random: LENGTH of
them, by default 1. round_robin: LENGTH of them in order, beginning behind the last one of the connection
before.""",
        "TYPE[:LENGTH]",
        "TYPE",
        words=CHAIN_TYPES,
        directive="-",
    ),
    Option(
        "isolate_streams",
        PROXIES,
        "a username of its own for each process",
        """\
Give SOCKS5 proxies without a username one that no other process has, so that Tor builds circuits for each
process. The default is off.""",
        "on|off",
        words=_SWITCH,
        read=switch,
    ),
    Option(
        "pipeline",
        PROXIES,
        "send all requests at once: off, on, auto [default: off]",
        """\
on: send the requests to all proxies at once, without waiting for their answers, which some cannot take.
auto: only to proxies that are known to take it.""",
        "off|on|auto",
        "MODE",
        words=PIPELINE,
        read=_one_of(PIPELINE),
    ),
    Option(
        "fast_open",
        PROXIES,
        "send the first request in the TCP handshake",
        """\
Send the first request within the TCP handshake, where the system and the first proxy allow it. The default
is off.""",
        "on|off",
        words=_SWITCH,
        read=switch,
    ),
    Option(
        "keep_env",
        PROXIES,
        "let the program see $ALL_PROXY, $http_proxy and such",
        """\
Let the program see the variables by which other tools name proxies: $ALL_PROXY, $http_proxy, $HTTPS_PROXY,
$PIP_PROXY and such, in any spelling. By default they are hidden from it, since what it sends to these would
go through two proxies, or around those of pysocksify. $NO_PROXY is not. Children that are not Python inherit
them in any case.""",
        "[=on|off]",
        words=_SWITCH,
        read=switch,
    ),
    Option(
        "timeout",
        PROXIES,
        "the time for a connection through the whole chain [default: 60]",
        "How long a connection through the whole chain may take to come about. The default is 60.",
        "SECONDS",
        read=seconds,
    ),
    Option(
        "connect_timeout",
        PROXIES,
        "the time to reach the first proxy",
        "How long the first proxy may take to be reached. By default, --timeout alone counts.",
        "SECONDS",
        read=seconds,
        directive="-",
    ),
    Option(
        "read_timeout",
        PROXIES,
        "the time for each answer of a proxy",
        "How long each answer of a proxy may take to come. By default, --timeout alone counts.",
        "SECONDS",
        read=seconds,
        directive="-",
    ),
    # ------------------------------------------------------------ traffic
    Option(
        "dns",
        TRAFFIC,
        "where names are resolved: remote, tor, local, tcp://HOST[:PORT] [default: remote]",
        """\
remote, the default: names are sent to the last proxy and never looked up here. tor: the last proxy, which
is Tor, is asked for addresses and for the names of addresses. tcp://HOST: that name server is asked for
them, through the proxies; the port is 53 unless given. local: names are looked up here, outside the
proxies. With these three the proxies get addresses, which is all that socks4 can carry.""",
        "remote|tor|tcp://HOST[:PORT]|local",
        "MODE",
        words=(*DNS, values.OVER_TCP),
        read=values.parse_dns,
    ),
    Option(
        "placeholders",
        TRAFFIC,
        "the addresses that programs get for unresolved names [default: 198.18.0.0/15]",
        """\
The IPv4 network of the addresses that programs get for names which only the last proxy resolves. Nothing
else can be reached there. The default is 198.18.0.0/15. Python's ipaddress calls these private, so programs
that refuse private addresses (SSRF guards) refuse every URL: use --dns tor or tcp://HOST for those, which
give them the real addresses. A network that such a program accepts (192.88.99.0/24, 254 names) makes its
check useless: it does not see which address the name has at the proxy.""",
        "NET",
        read=values.parse_placeholders,
    ),
    Option(
        "confine",
        TRAFFIC,
        "a network whose only way out is through the proxies: auto (for programs that are not Python),"
        " on, off [default: auto]",
        """\
Run PROGRAM and all that it starts in a network namespace whose only way out is through the proxies: any
program, whatever it is written in. auto, the default: if PROGRAM is not a Python that can be patched. on: in
any case. off: never; programs that are not such a Python are refused. Needs a kernel that allows it, and no
privileges; `--check --confine` tests that.""",
        "auto|on|off",
        "MODE",
        words=CONFINE,
        read=_one_of(CONFINE),
    ),
    Option(
        "foreign",
        TRAFFIC,
        "libraries whose own sockets cannot be covered: warn, refuse, quiet [default: warn]",
        """\
Some libraries have sockets of their own, in C or Rust, which Python code cannot patch (grpc, curl_cffi, zmq
and others). warn, the default: a line on stderr when the program imports one, also with -q, since what they
send leaves directly. refuse: as if they were not installed. quiet: no warning. With --confine on, their
traffic goes through the proxies too, and no warning is printed.""",
        "warn|refuse|quiet",
        "MODE",
        words=FOREIGN,
        read=_one_of(FOREIGN),
    ),
    Option(
        "children",
        TRAFFIC,
        "what a Python starts that is not Python: confine, warn, refuse, direct [default: auto]",
        """\
How programs that are not Python, such as git and curl, run when a patched Python starts them. confine: in a
network of their own, as with --confine, one for all children of the run; where the machine does not allow
that, they are not started. warn: without the proxies: what they send leaves directly, and a line on stderr
names each program once. refuse: they are not started (EPERM). direct: as warn, but no line is printed. auto,
the default: confine where the machine allows it, else warn; with --confine off, warn. A child that is
confined gains no privileges by sudo and its like.""",
        "auto|confine|warn|refuse|direct",
        "MODE",
        words=CHILDREN,
        read=_one_of(CHILDREN),
    ),
    Option(
        "publish",
        TRAFFIC,
        "carry connections to PORT of this machine to a server in that network",
        """\
Carry connections to PORT of this machine to a server that PROGRAM runs in such a network, at the same or at
the second PORT. HOST is the address to listen at, by default 127.0.0.1. May be repeated.""",
        "[HOST:]PORT[:PORT]",
        adds=True,
    ),
    Option(
        "loopback",
        TRAFFIC,
        "connections to this machine: direct, proxy, deny [default: direct]",
        """\
Connections to this machine (127.0.0.0/8, ::1, and the addresses of its interfaces) are made directly, which
is the default, sent through the proxies, or refused.""",
        "direct|proxy|deny",
        "MODE",
        words=LOOPBACK,
        read=_one_of(LOOPBACK),
    ),
    Option(
        "direct",
        TRAFFIC,
        "networks, addresses and names that need no proxy",
        """\
Connect directly to these destinations, in addition to those of the configuration file. NET is a network
(10.0.0.0/8, 10.0.0.0/255.0.0.0, fd00::/8), an address, a name, or *.SUFFIX for all names below SUFFIX; with
:PORT or :PORT-PORT, for those ports alone ([fd00::/8]:443). May be repeated, as may --route and --dnat.""",
        "NET[,NET]...",
        "NET,...",
        adds=True,
    ),
    Option(
        "route",
        TRAFFIC,
        "where connections to NET go, for some destinations",
        """\
Where connections to NET go, which is * for everything beyond this machine: through a chain of the
configuration file, through the proxies of -x, directly, or nowhere. The first that matches decides, whether
of --direct or of --route; those of the configuration file come after.""",
        "'[tcp|udp] NET[,NET]... CHAIN|proxy|direct|block'",
        "RULE",
        adds=True,
    ),
    Option(
        "dnat",
        TRAFFIC,
        "connect to the second address instead of the first",
        "Where the program connects to the first address, connect to the second. Applied before rules.",
        "'ADDRESS[:PORT] ADDRESS[:PORT]'",
        "'A B'",
        adds=True,
    ),
    Option(
        "udp",
        TRAFFIC,
        "datagrams: associate (through the proxies), block, direct [default: associate]",
        """\
associate, the default: datagrams go through the proxies by UDP ASSOCIATE, which only SOCKS5 has; where a
proxy refuses that, they are refused. block: they are refused. direct: they leave directly.""",
        "associate|block|direct",
        "MODE",
        words=UDP,
        read=_one_of(UDP),
    ),
    Option(
        "listen",
        TRAFFIC,
        "listening sockets: local, bind (on the last proxy), block [default: local]",
        """\
local, the default: a program that listens does so here. bind: what listens on port 0 does so on the last
proxy, by BIND, as the data connections of active FTP have to; a bound port stays local. block: a socket may
listen on loopback only.""",
        "local|bind|block",
        "MODE",
        words=LISTEN,
        read=_one_of(LISTEN),
    ),
    Option(
        "bind_peer",
        TRAFFIC,
        "the peer that such a socket accepts: latest, any [default: latest]",
        """\
The peer from which the proxy accepts the connection: the host that the program connected to last, which is
the default, or any.""",
        "latest|any",
        "PEER",
        words=BIND_PEER,
        read=_one_of(BIND_PEER),
    ),
    # ------------------------------------------------------------ instead of PROGRAM
    Option(
        "init",
        ACTIONS,
        "look for proxies, test them, and write a configuration file",
        """\
Look for proxies, test them as --check does, and write ~/.config/pysocksify/pysocksify.conf with the first
that works, and with the others in comments: that of $ALL_PROXY, those of proxychains and torsocks, and what
listens on this machine at the ports of Tor (9050), the Tor Browser (9150) and ssh -D (1080). On a terminal it
asks which to take, elsewhere nothing. It overwrites no file.""",
    ),
    Option(
        "show_config",
        ACTIONS,
        "print the settings, and where each comes from",
        """\
Print all settings as a configuration file, passwords masked, with the line of the file that each comes
from. PROGRAM may follow, and is not run.""",
    ),
    Option(
        "env",
        ACTIONS,
        'print what wraps a shell: eval "$(pysocksify --env)"; --env=off: what undoes that',
        """\
Print commands for a shell of the Bourne kind (sh, bash, dash, zsh): eval "$(pysocksify --env [OPTIONS])"
makes it run every Python program through the proxies, --env=off undoes that.

Programs that are not Python, and python -I, -E and -S, stay direct.""",
    ),
    Option(
        "check",
        ACTIONS,
        "test the proxies, and say what they can do",
        """\
Test the proxies at these URLs, or those of -x or of the configuration file. Each proxy of a chain is tested
by itself, and then through those before it. What they can do is printed as a table, and what is wrong in
words. No third party takes part: a proxy on this machine is asked for a connection to a listener that --check
opens here; any other proxy for one to its own address, and then for one to such a listener. Here --timeout is
the time for each test, by default 5. If a proxy fails, the result of python-socks and PySocks with it is
printed too.

--check --confine tests instead whether programs can be confined on this machine; if not, it says why, and
what can be done about it.""",
        # Not a value: the words after the options.
        "[URL]...",
    ),
    Option(
        "check_target",
        ACTIONS,
        "ask the proxies for a connection to HOST:PORT",
        """\
With --check: ask for a connection to this destination instead, for a proxy that
reaches neither this machine nor its own address, such as `ssh -D` to another machine.""",
        "HOST:PORT",
    ),
    Option(
        "report",
        ACTIONS,
        "make a page of FILE, which --log has written",
        """\
Make a page of FILE, a log of --log (- is stdin): a waterfall of the connections, cut into the phases of each
hop, with names and refusals between them; tables by hop, program and destination; what was refused and why;
what left directly, and by which rule. The page is one file that opens from disk and loads nothing.""",
        "FILE",
    ),
    Option(
        "output",
        ACTIONS,
        "with --report and --init: the file to write",
        """\
With --report: the file for the page, by default FILE with the ending .html. With --init: the configuration
file. - is stdout.""",
        "FILE",
        short="-o",
    ),
    Option(
        "watch",
        ACTIONS,
        "show the processes of a run, and where each of their connections goes",
        """\
Show the processes of the run of PID, or of the run that was started last, until it ends: each is patched,
confined or unprotected, and each of its connections goes to a hop, directly by a rule, or neither.
Connections that end within half a second may be missed. The exit status is 3 if anything unprotected was
seen. With --json, one look is printed, for scripts. With a PROGRAM instead, that is started and watched:
it keeps the terminal, a line on stderr names each unprotected process, and the status is PROGRAM's, or 3
instead of 0.""",
        # Not a value, as with --check.
        "[PID | PROGRAM [ARG]...]",
    ),
    Option(
        "json",
        ACTIONS,
        "with --check and --watch: for scripts",
        "With --check and --watch: print JSON. Its keys stay as they are.",
    ),
    # ------------------------------------------------------------ messages
    Option("quiet", MESSAGES, "errors only", "Errors only.", short="-q"),
    Option(
        "verbose",
        MESSAGES,
        "a line for each connection; -vv: more",
        "A line for each connection; -vv says more.",
        short="-v",
    ),
    Option(
        "log",
        MESSAGES,
        "write each connection, name and refusal to FILE, as JSON",
        """\
Append a line of JSON to FILE for each connection, UDP association, listener, name and refusal, of all
processes of the run: when, which program and library, where to, through which hops and how long each took,
and what came of it. - is stdout; fd:NUMBER is an open descriptor. Passwords are never written.""",
        "FILE",
        read=values.parse_log,
    ),
    Option(
        "help",
        MESSAGES,
        "this summary, or everything",
        "-h: a summary of this text. --help: this text.",
        short="-h",
    ),
    Option("version", MESSAGES, "the version", "The version of pysocksify."),
)

BY_FLAG = {option.flag: option for option in OPTIONS}

# By name of the setting: the function that reads its value, whether from the command line, a file or
# install().
READERS: dict[str, Reader] = {
    **{option.name: option.read for option in OPTIONS if option.read is not None},
    # On the command line it is set by -q and -v.
    "verbosity": _verbosity,
}
# By name of the directive: the name of the setting, for directives with the same values as the option.
DIRECTIVES = {
    option.directive or option.name: option.name
    for option in OPTIONS
    if option.read is not None and option.directive != "-"
} | {"verbosity": "verbosity"}
