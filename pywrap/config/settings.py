"""Everything that a user can set, as immutable values, from whatever source it comes.

Only plain text, bytes and numbers: the launcher passes them to the target process in one environment
variable (``settings_env``), and the target compiles them into what it needs (``tunnel.routes``).
"""

from __future__ import annotations

from pywrap.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    # The hops of one connection, the nearest first.
    Path: TypeAlias = tuple["Proxy", ...]

SCHEMES = ("socks4", "socks4a", "socks5", "socks5h", "http", "raw")
DNS = ("remote", "tor", "local")
LOOPBACK = ("direct", "proxy", "deny")
UDP = ("associate", "block", "direct")
LISTEN = ("local", "bind", "block")
BIND_PEER = ("latest", "any")
PIPELINE = ("off", "on", "auto")
CONFINE = ("auto", "on", "off")
FOREIGN = ("warn", "refuse", "quiet")
CHILDREN = ("auto", "confine", "warn", "refuse", "direct")
PROTOCOLS = ("tcp", "udp")
PROTECTIONS = ("none", "integrity", "confidentiality")
CHAIN_TYPES = ("strict", "dynamic", "random", "round_robin")
DEFAULT_PORT = 1080
# The network for benchmarks (RFC 2544), which is not routed. ``ipaddress`` calls it private, so programs that
# refuse private addresses (SSRF guards) refuse placeholders. That is right: a placeholder says nothing about
# the address that the proxy finds for the name, which may be private. Of the networks that ``ipaddress``
# calls global (3.11 to 3.13), only 192.88.99.0/24 is unassigned (RFC 7526), with 254 addresses. It calls
# 100.64.0.0/10 neither, but carriers and Tailscale use that.
PLACEHOLDERS = "198.18.0.0/15"

# What ``Rule.to`` can be besides the name of a chain.
TO_DIRECT = "direct"
TO_BLOCK = "block"


@frozen
class Tls:
    """TLS around the connection to a hop (RFC 8446), and how the hop's certificate is verified.

    ``name``: the name in the certificate; "" for the hop's host. ``ca``: the file of the authorities; "" for
    the system's. ``pin``: the SHA-256 of the certificate, in hexadecimal; without ``ca``, it alone counts.
    ``certificate``: a file with our own and its key; "" for none.
    """

    name: str = ""
    ca: str = ""
    pin: str = ""
    certificate: str = ""


@frozen
class Kerberos:
    """GSSAPI at a SOCKS5 hop (RFC 1961). ``service``: the hop's principal, "" for ``socks/HOST``.

    ``protection``: one of PROTECTIONS, the least that is agreed on.
    """

    service: str = ""
    protection: str = "confidentiality"


@frozen
class Proxy:
    """One hop of a chain.

    ``scheme``: one of SCHEMES. ``socks4`` is SOCKS4 without its extension 4A, so it takes no names.
    ``socks5`` and ``socks5h`` are the same protocol: ``Settings.dns`` decides where names are resolved.
    ``http`` is the CONNECT method of HTTP. ``raw`` has no protocol: the hop passes on the bytes that it gets.
    ``host``: a literal or a name. ``username`` and ``password``: the bytes to send; a password needs a
    username. ``tls`` and ``kerberos``: None for without.
    """

    scheme: str
    host: str
    port: int = DEFAULT_PORT
    username: bytes | None = None
    password: bytes | None = None
    tls: Tls | None = None
    kerberos: Kerberos | None = None

    @property
    def is_secured(self) -> bool:
        """Whether a relay has to stand between the program and this hop: for TLS, or for python-gssapi."""
        return self.tls is not None or self.kerberos is not None

    def __str__(self) -> str:
        """``host:port``, as messages name a hop: never with its password."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        user = "" if self.username is None else f"{self.username.decode('utf-8', 'backslashreplace')}:***@"
        return f"<Proxy {self.scheme}://{user}{self}>"


@frozen
class Chain:
    """Proxies, and which of them a connection goes through.

    ``type``: one of CHAIN_TYPES, which are those of proxychains-ng. strict: all in order; dynamic: all in
    order that are not dead; random: ``length`` of them at random; round_robin: ``length`` of them, beginning
    after those of the connection before. ``length`` 0 means all. ``name``: "" for the default chain.
    """

    proxies: tuple[Proxy, ...] = ()
    name: str = ""
    type: str = "strict"
    length: int = 0

    @property
    def entries(self) -> tuple[Proxy, ...]:
        """The proxies at which its tunnels begin: the first of a strict chain, any of another one."""
        return self.proxies[:1] if self.type == "strict" else self.proxies


@frozen
class Rule:
    """Destinations, and where connections to them go.

    The destinations: a ``network`` (``192.168.0.0/16``, ``fd00::/8``, one address as /32 or /128; as
    ``parse_network`` writes it), or a ``name`` (``*.corp.example`` or ``host.example``, lower case, IDNA
    applied), or, without both, everything. ``port``: 0 for all; ``last_port``: the end of a range, or 0.
    ``protocol``: one of PROTOCOLS, or "" for both. ``to``: TO_DIRECT, TO_BLOCK, or the name of a chain, ""
    for the default one.
    """

    network: str = ""
    name: str = ""
    port: int = 0
    last_port: int = 0
    protocol: str = ""
    to: str = ""

    def __str__(self) -> str:
        """The destinations, in the form that configuration files have."""
        what = self.network or self.name or "*"
        if not self.port:
            return what
        ports = f"{self.port}-{self.last_port}" if self.last_port else f"{self.port}"
        return f"[{what}]:{ports}" if ":" in what else f"{what}:{ports}"


@frozen
class Rewrite:
    """Replaces a destination address by another: ``dnat`` of proxychains.

    ``address``, ``new_address``: literals as inet_ntop(3) writes them. ``port``: 0 for all. ``new_port``: 0
    keeps the port. The first rewrite that matches counts; those with a port come before the others.
    """

    address: str
    port: int
    new_address: str
    new_port: int = 0


@frozen
class Settings:
    """All settings of the target process.

    ``chains``: the default chain comes first; it has no proxies only where the rules leave no destination to
    it. ``rules``: the first that matches decides; connections that none matches go through the default chain.
    ``rewrites`` are applied before the rules. ``dns``: one of DNS, or ``tcp://HOST:PORT``, a name server that
    is asked through the chain that the name belongs to. ``bind_peer``: the peer that BIND requests name, the
    host that was connected to last, or any. ``isolate_streams``: SOCKS5 proxies without a username get one
    that no other process has. ``placeholders``: the IPv4 network of the addresses that stand for names.
    ``confine``: which programs run in a network of their own (``pywrap.confine``); auto: those that the
    patches cannot cover. ``foreign``: what is done about an import of a library with sockets of its own that
    cannot be patched. ``children``: how children that are not Python are started; auto: confined where the
    machine allows it, else with a warning.

    ``timeout``, ``connect_timeout``, ``read_timeout``: seconds for a connection through the whole chain, for
    reaching the first hop, and for each answer of a hop; 0: no limit besides ``timeout``. ``verbosity``: -1
    (-q) errors only, 0 the default, 1 (-v) a line for each connection, 2 (-vv) more. ``keep_env``: the
    program sees the variables that name proxies (``config.variables``); else they are hidden from it, and
    ``proxy_variables`` has their names and values, for children that are not covered. ``shared_file``: the
    path of the file that the processes of a run share (``tunnel.shared_file``), which the launcher makes; ""
    for none. ``log``: the path of the file for the log (``pywrap.log``), or ``fd:NUMBER`` before the launcher
    has opened it; "" for none. ``run``: the identifier of this run (``new_run``): in the log, for --watch,
    and for its processes, which find the confinement of their children by it.
    """

    chains: tuple[Chain, ...] = (Chain(),)
    rules: tuple[Rule, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    dns: str = "remote"
    placeholders: str = PLACEHOLDERS
    confine: str = "auto"  # one of CONFINE
    foreign: str = "warn"  # one of FOREIGN
    children: str = "auto"  # one of CHILDREN
    loopback: str = "direct"  # one of LOOPBACK
    udp: str = "associate"  # one of UDP
    listen: str = "local"  # one of LISTEN
    bind_peer: str = "latest"  # one of BIND_PEER
    pipeline: str = "off"  # one of PIPELINE
    fast_open: bool = False
    isolate_streams: bool = False
    timeout: float = 60.0
    connect_timeout: float = 0.0
    read_timeout: float = 0.0
    keep_env: bool = False
    proxy_variables: tuple[tuple[str, str], ...] = ()
    shared_file: str = ""

    @property
    def secured_hops(self) -> tuple[Proxy, ...]:
        """The hops, of all chains, that need a relay."""
        return tuple(hop for chain in self.chains for hop in chain.proxies if hop.is_secured)

    verbosity: int = 0
    log: str = ""
    run: str = ""

    @property
    def chain(self) -> tuple[Proxy, ...]:
        """The proxies of the default chain."""
        return self.chains[0].proxies


def new_run() -> str:
    """A new text for ``Settings.run``, which cannot be guessed. A later one sorts behind an earlier one."""
    # Imported here: only the launcher calls this, and the target imports little.
    import os
    from time import gmtime, strftime

    return f"{strftime('%Y%m%dT%H%M%S', gmtime())}-{os.getpid()}-{os.urandom(12).hex()}"
