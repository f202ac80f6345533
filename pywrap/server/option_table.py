"""The options of the server: one table for command line, configuration file, manual and completions.

A line of the file is an option without its dashes, and the value after a blank: ``listen 0.0.0.0:1080``.
"""

from __future__ import annotations

from pywrap.config.words import seconds
from pywrap.frozen import frozen
from pywrap.server import option_values as values
from pywrap.server.ident import MODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

DEFAULT_LISTEN = ("127.0.0.1", 1080)
DEFAULT_FILE = "/etc/pysocksd.conf"


@frozen
class Option:
    """One option. ``read(text, shown)`` makes its value; ``shown`` is its name in messages.

    ``metavar``: the name of its value in the help, or several with blanks between them; "" for a flag.
    ``many``: whether it may be repeated. ``limit``: the field of ``Limits`` that it sets. ``words``: values
    that completions offer.
    """

    name: str
    help: str
    read: Callable[[str, str], Any]
    metavar: str = ""
    short: str = ""
    many: bool = False
    in_file: bool = True
    limit: str = ""
    words: tuple[str, ...] = ()


SECTIONS: tuple[tuple[str, tuple[Option, ...]], ...] = (
    (
        "Clients",
        (
            Option(
                "listen",
                "accept clients at this address; repeat for more; port 0 picks a free one [default:"
                " 127.0.0.1:1080, or what systemd hands over]",
                values.parse_address,
                "HOST:PORT",
                "l",
                many=True,
            ),
            Option(
                "users",
                "require a username and a password; a line of FILE is `name:password`, or what --add-user"
                " writes",
                values.any_text,
                "FILE",
                "u",
            ),
            Option(
                "listen-tls",
                "accept clients at this address that speak TLS first (socks5+tls://), with --certificate",
                values.parse_address,
                "HOST:PORT",
                many=True,
            ),
            Option(
                "certificate",
                "the certificate of this server, followed by those of its issuers, in PEM",
                values.any_text,
                "FILE",
            ),
            Option(
                "key",
                "the private key of the certificate, unless it is in the same file",
                values.any_text,
                "FILE",
            ),
            Option(
                "client-ca",
                "require of TLS clients a certificate that one of those in FILE has signed",
                values.any_text,
                "FILE",
            ),
            Option(
                "gssapi",
                "require Kerberos (RFC 1961), with the key of SERVICE, as socks@proxy.example, in the keytab;"
                " with --users, a client may give a password instead (needs the extra `gssapi`)",
                values.any_text,
                "SERVICE",
            ),
            Option(
                "gssapi-protection",
                "the least protection of messages that GSSAPI clients must use: none, integrity or"
                " confidentiality [default: none]. clear: no client gets any, for curl 8, which asks for"
                " protection that it cannot use",
                values.protection,
                "LEVEL",
                words=tuple(values.PROTECTIONS),
            ),
            Option(
                "ident",
                "ask the machines of SOCKS4 clients for their users (RFC 1413): require refuses a"
                " request that they do not confirm, log prints the difference [default: off]",
                values.ident_mode,
                "MODE",
                words=MODES,
            ),
            Option(
                "allow",
                "allow the requests that RULE describes: [from NETWORK] [user NAME] [COMMAND]"
                " [DESTINATION], each one or several with commas. COMMAND is connect, bind, udp or resolve."
                " The first rule that matches decides, of --allow and --deny; what none matches is allowed",
                values.any_text,
                "RULE",
            ),
            Option("deny", "refuse the requests that RULE describes", values.any_text, "RULE"),
        ),
    ),
    (
        "Limits (0 is none; a client is an IPv4 address or an IPv6 /64)",
        (
            Option(
                "max-connections",
                "connections of all clients [default: 0]",
                values.count,
                "N",
                limit="connections",
            ),
            Option(
                "max-per-client",
                "connections of one client [default: 0]",
                values.count,
                "N",
                limit="per_client",
            ),
            Option(
                "max-per-user", "connections of one user [default: 0]", values.count, "N", limit="per_user"
            ),
            Option(
                "max-handshakes",
                "requests that are not complete, of all clients [default: 1024]",
                values.count,
                "N",
                limit="handshakes",
            ),
            Option(
                "max-associations",
                "UDP ASSOCIATEs of one client [default: 0]",
                values.count,
                "N",
                limit="associations",
            ),
            Option("max-binds", "BINDs of one client [default: 0]", values.count, "N", limit="binds"),
            Option(
                "rate",
                "bytes per second of one client each way: 500K, 10M [default: 0]",
                values.size,
                "BYTES",
                limit="rate",
            ),
            Option(
                "handshake-timeout",
                "the time for a complete request [default: 30]",
                seconds,
                "SECONDS",
                limit="handshake",
            ),
            Option(
                "connect-timeout",
                "the time to look up and reach a destination [default: 30]",
                seconds,
                "SECONDS",
                limit="connect",
            ),
            Option(
                "bind-timeout",
                "the time for the peer of a BIND to connect [default: 120]",
                seconds,
                "SECONDS",
                limit="bind",
            ),
            Option(
                "idle-timeout",
                "close a connection through which nothing has passed for so long [default: 0]",
                values.seconds_or_none,
                "SECONDS",
                limit="idle",
            ),
        ),
    ),
    (
        "Other proxies",
        (
            Option(
                "proxy",
                "connect through the proxy at URL: socks5://, socks4a:// or http://, with +tls and ?gssapi"
                " as in `man pysocksify`; repeat for a chain, nearest first. UDP goes through SOCKS5 alone",
                values.proxy,
                "URL",
                "x",
                many=True,
            ),
            Option(
                "route",
                "[tcp|udp] DESTINATION proxy|direct|block: where some destinations go; the first that matches"
                " decides, and what none matches goes through the proxies",
                values.route,
                "ROUTE",
                many=True,
            ),
        ),
    ),
    (
        "UDP and BIND",
        (
            Option(
                "udp-peers",
                "the peers that clients get datagrams from: those that they have sent to (contacted), or"
                " any [default: contacted]",
                values.any_peer,
                "PEERS",
                words=values.PEERS,
            ),
            Option(
                "udp-address",
                "the address to which clients are told to send datagrams, for a server behind a NAT; once"
                " for IPv4, once for IPv6 [default: the address that they have connected to]",
                values.announced_address,
                "IP",
                many=True,
            ),
            Option("no-udp", "refuse UDP ASSOCIATE", values.any_text),
            Option(
                "bind-address",
                "the address that clients of BIND are told, for a server behind a NAT; once for IPv4, once"
                " for IPv6 [default: the address of this machine that leads to the client's peer]",
                values.announced_address,
                "IP",
                many=True,
            ),
        ),
    ),
    (
        "Operation",
        (
            Option(
                "config",
                f"read options from FILE, one a line, without the dashes [default: {DEFAULT_FILE} if there is"
                " one]",
                values.any_text,
                "FILE",
                "f",
                in_file=False,
            ),
            Option(
                "drain",
                "on SIGTERM, accept no client, and end tunnels only after so long [default: 0]",
                values.seconds_or_none,
                "SECONDS",
            ),
            Option(
                "workers",
                "processes that serve, each with limits and counters of its own [default: 1]",
                values.positive,
                "N",
            ),
            Option(
                "fast-open",
                "take a request in the first packet of a connection (TCP Fast Open): a copy of that packet"
                " that comes late may then connect a second time",
                values.any_text,
            ),
            Option(
                "metrics",
                "serve counters for Prometheus at this address of loopback; further workers use the ports"
                " after it (needs the extra `metrics`)",
                values.loopback_address,
                "HOST:PORT",
            ),
            Option(
                "log-format",
                "the form of the lines: text or json [default: text]",
                values.log_format,
                "FORMAT",
                words=values.LOG_FORMATS,
            ),
            Option("quiet", "print no line for each request", values.any_text, short="q"),
            Option(
                "verbose",
                "print a line for the end of each connection too, with its bytes and its dropped datagrams",
                values.any_text,
                short="v",
            ),
        ),
    ),
    (
        "Instead of serving",
        (
            Option(
                "explain",
                "say which rule decides on a request: `--explain 192.0.2.7 alice connect example.org:443`,"
                " with `-` for no user; exit status 3 when it is refused",
                values.any_text,
                "CLIENT USER COMMAND DESTINATION",
                in_file=False,
            ),
            Option(
                "add-user",
                "write NAME into the file of --users, with the hash of a password that is asked for or read"
                " from stdin",
                values.any_text,
                "NAME",
                in_file=False,
            ),
            Option("version", "print the version", values.any_text, in_file=False),
            Option("help", "print this", values.any_text, short="h", in_file=False),
        ),
    ),
)

OPTIONS = {option.name: option for _, options in SECTIONS for option in options}
