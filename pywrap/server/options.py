"""The command line of the server.

By hand: argparse takes longer to import than the whole server.
"""

from __future__ import annotations

from pywrap.config.host import parse_host
from pywrap.config.words import digits, nearest
from pywrap.errors import ConfigError
from pywrap.frozen import frozen, replace
from pywrap.server.outbound import UdpRules
from pywrap.socks.wire import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_LISTEN = ("127.0.0.1", 1080)

HELP = """\
A SOCKS server: SOCKS4, SOCKS4a and SOCKS5 with UDP, names resolved here.

Usage: pysocksd [OPTIONS]

Examples:
  pysocksd
  pysocksd --listen 0.0.0.0:1080 --listen '[::]:1080' --users users.txt

Options:
  -l, --listen HOST:PORT  accept clients there; repeat for more; port 0 picks a
                          free one [default: 127.0.0.1:1080]
  -u, --users FILE        ask for a password; a line of FILE is `name:password`
      --udp-peers WHO     from whom clients get datagrams: those that they have
                          sent to (contacted), or any [default: contacted]
      --udp-address IP    what clients are told to send datagrams to, behind a
                          NAT, say; once for IPv4, once for IPv6 [default: the
                          address that they have connected to]
      --no-udp            refuse UDP ASSOCIATE
      --bind-address IP   what clients that BIND are told, behind a NAT, say;
                          once for IPv4, once for IPv6 [default: the address of
                          this machine that leads to the client's peer]
      --fast-open         take a request in the first packet of a connection
                          (TCP Fast Open): a copy of that packet that comes
                          late may then connect a second time
  -q, --quiet             no line for each request
  -v, --verbose           a line for each end too, with the bytes and what was
                          dropped of datagrams
      --version           print the version
  -h, --help              print this

It stops on SIGTERM and SIGINT, and reads FILE again on SIGHUP.
Exit status: 0 stopped, 1 cannot listen or read the user file, 2 wrong usage.
"""


class UsageError(ConfigError):
    """The command line cannot be understood."""


@frozen
class Options:
    listen: tuple[tuple[str, int], ...] = (DEFAULT_LISTEN,)
    users: str = ""
    verbosity: int = 0
    show: str = ""  # help | version
    udp: UdpRules = UdpRules()
    bind_addresses: tuple[str, ...] = ()
    fast_open: bool = False


_FLAGS = {
    "--no-udp": "no-udp",
    "--fast-open": "fast-open",
    "-q": "quiet",
    "--quiet": "quiet",
    "-v": "verbose",
    "--verbose": "verbose",
    "--version": "version",
    "-h": "help",
    "--help": "help",
}
_VALUES = {
    "-l": "listen",
    "--listen": "listen",
    "-u": "users",
    "--users": "users",
    "--udp-peers": "udp-peers",
    "--udp-address": "udp-address",
    "--bind-address": "bind address",
}


def parse(argv: list[str]) -> Options:
    """Understand the arguments.

    Raises:
        UsageError: with a hint.
    """
    listen: list[tuple[str, int]] = []
    users = ""
    verbosity = 0
    udp = UdpRules()
    bind_addresses: list[str] = []
    fast_open = False
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=") if argument.startswith("--") else (argument, "", "")
        if name in _VALUES:
            if not equals:
                if not rest:
                    raise UsageError(f"no value for `{name}`", _SEE_HELP)
                value = rest.pop(0)
            if not value:
                # Of a variable that is not set, say: without its users, the server would serve everyone.
                raise UsageError(f"no value for `{name}`", _SEE_HELP)
            if _VALUES[name] == "listen":
                listen.append(parse_address(value))
            elif _VALUES[name] == "udp-peers":
                udp = replace(udp, any_peer=_any_peer(value))
            elif _VALUES[name] == "udp-address":
                udp = replace(udp, addresses=(*udp.addresses, _announced(value, udp.addresses, name, "UDP")))
            elif _VALUES[name] == "bind address":
                bind_addresses.append(_announced(value, bind_addresses, name, "BIND"))
            else:
                users = value
            continue
        flag = "" if equals else _FLAGS.get(name, "")
        if flag in ("help", "version"):
            return Options(show=flag)
        if not flag:
            raise UsageError(f"unknown argument: `{argument}`", _suggestion(name))
        if flag == "no-udp":
            udp = replace(udp, enabled=False)
        elif flag == "fast-open":
            fast_open = True
        else:
            verbosity = -1 if flag == "quiet" else 1
    return Options(
        tuple(listen) or (DEFAULT_LISTEN,),
        users,
        verbosity,
        udp=udp,
        bind_addresses=tuple(bind_addresses),
        fast_open=fast_open,
    )


def parse_address(text: str) -> tuple[str, int]:
    """``HOST:PORT``, an IPv6 address in brackets.

    Raises:
        UsageError: it is not.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if ":" not in host:
            raise UsageError(f"not HOST:PORT: `{text}`", "brackets are for IPv6 addresses")
    elif ":" in host:
        raise UsageError(f"not HOST:PORT: `{text}`", "an IPv6 address is written as `[::1]:1080`")
    if not colon or not host:
        raise UsageError(f"not HOST:PORT: `{text}`", "for all IPv4 addresses: `0.0.0.0:1080`")
    number = digits(port)
    if number is None or number > 65535:
        raise UsageError(f"not a port: `{port}` in `{text}`", "a port is a number from 0 to 65535")
    return _parse_host(host, text), number


def _parse_host(host: str, text: str) -> str:
    if "%" in host and packed(host) is not None:
        # A zone is the interface to listen on.
        return host
    try:
        return parse_host(host)
    except ConfigError as err:
        raise UsageError(
            f"not HOST:PORT: `{text}` ({err})", "for all IPv4 addresses: `0.0.0.0:1080`"
        ) from None


def _any_peer(text: str) -> bool:
    if text not in ("contacted", "any"):
        raise UsageError(f"not `contacted` or `any`: `{text}`", _SEE_HELP)
    return text == "any"


def _announced(text: str, others: Sequence[str], option: str, what: str) -> str:
    """An address that clients are told, for ``what``."""
    address = packed(text)
    # A zone is a name of this machine's interface: no message has room for it.
    if address is None or "%" in text:
        raise UsageError(
            f"not an address: `{text}`", f"`{option}` takes an address, without a port or a zone"
        )
    if address[0] >= (224 if len(address) == 4 else 255):
        raise UsageError(
            f"not the address of one host: `{text}`", f"`{option}` is where clients find this one"
        )
    if any((":" in text) == (":" in other) for other in others):
        family = "IPv6" if ":" in text else "IPv4"
        raise UsageError(
            f"a second {family} address for {what}: `{text}`", "one for each family is announced"
        )
    return text


_SEE_HELP = "`pysocksd -h` lists the options"


def _suggestion(name: str) -> str:
    near = nearest(name, [option for option in (*_FLAGS, *_VALUES) if option.startswith("--")])
    return f"did you mean `{near}`? {_SEE_HELP}" if near else _SEE_HELP
