"""What a user can decide, as immutable values that every reader produces and every floor takes.

Plain text and numbers only: the launcher hands them to the target through one environment
variable (``settings_env``), and the target compiles what it needs (``tunnel.routes``).
"""

from __future__ import annotations

from pywrap.frozen import frozen

SCHEMES = ("socks4", "socks4a", "socks5", "socks5h", "http", "raw")
DNS = ("remote", "tor", "local")
LOOPBACK = ("direct", "proxy", "deny")
UDP = ("associate", "block", "direct")
LISTEN = ("local", "bind", "block")
BIND_PEER = ("latest", "any")
PIPELINE = ("off", "on", "auto")
CONFINE = ("auto", "on", "off")
PROTOCOLS = ("tcp", "udp")
CHAIN_TYPES = ("strict", "dynamic", "random", "round_robin")
DEFAULT_PORT = 1080
# For benchmarks (RFC 2544), and routed nowhere. Python's ``ipaddress`` calls it private, so SSRF guards
# refuse it, and rightly: it tells them nothing, and what a name is at the proxy may be private. Of what
# ``ipaddress`` calls global (3.11 to 3.13), only 192.88.99.0/24 is nobody's (RFC 7526), which has 254
# addresses. It calls 100.64.0.0/10 neither, but carriers and Tailscale use that.
PLACEHOLDERS = "198.18.0.0/15"

# What ``Rule.to`` can be besides the name of a chain.
TO_DIRECT = "direct"
TO_BLOCK = "block"


@frozen
class Proxy:
    """One hop of a chain.

    ``socks4`` is the version without names; ``socks5`` and ``socks5h`` are the same on the
    wire, and who resolves names is decided by ``Settings.dns``. ``http`` is CONNECT of HTTP; ``raw``
    speaks no protocol at all: what reaches it is what it passes on. Username and password are
    the bytes to send; a password needs a username.
    """

    scheme: str
    host: str
    port: int = DEFAULT_PORT
    username: bytes | None = None
    password: bytes | None = None

    def __str__(self) -> str:
        """``host:port``, as messages name a hop: never with its password."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        user = "" if self.username is None else f"{self.username.decode('utf-8', 'backslashreplace')}:***@"
        return f"<Proxy {self.scheme}://{user}{self}>"


@frozen
class Chain:
    """Proxies, and how a connection picks those that it goes through.

    ``type`` is one of CHAIN_TYPES, as proxychains-ng has them: strict, all in order; dynamic, all in order
    that are not dead; random, ``length`` of them at random; round_robin, ``length`` of them, from where
    the connection before left off. ``length`` 0 is all of them. ``name`` is "" for the default chain.
    """

    proxies: tuple[Proxy, ...] = ()
    name: str = ""
    type: str = "strict"
    length: int = 0


@frozen
class Rule:
    """Destinations, and where connections to them go.

    Which: a ``network`` (``192.168.0.0/16``, ``fd00::/8``, a single address as /32 or /128; normalized), or
    a ``name`` (``*.corp.example`` or ``host.example``, lower case, IDNA applied), or everything; at all ports
    (``port`` 0), at one, or from ``port`` to ``last_port``; of one of PROTOCOLS, or of both ("").
    Where: TO_DIRECT, TO_BLOCK, or a chain by its name, the default chain's being "".
    """

    network: str = ""
    name: str = ""
    port: int = 0
    last_port: int = 0
    protocol: str = ""
    to: str = ""

    def __str__(self) -> str:
        """The destinations, as they are written in a file."""
        what = self.network or self.name or "*"
        if not self.port:
            return what
        ports = f"{self.port}-{self.last_port}" if self.last_port else f"{self.port}"
        return f"[{what}]:{ports}" if ":" in what else f"{what}:{ports}"


@frozen
class Rewrite:
    """One address (and port, unless 0) in the place of another: ``dnat`` of proxychains.

    The first that matches counts, among those with a port and then among the others. Addresses are as
    ``inet_ntop`` writes them. ``new_port`` 0 leaves the port as it is.
    """

    address: str
    port: int
    new_address: str
    new_port: int = 0


@frozen
class Settings:
    """Everything that the target process must know.

    ``chains``: the default chain, without a name, comes first; it is without proxies only where
    no destination is left to it. ``rules``: the first that matches decides; what none matches goes through
    the default chain. ``rewrites`` come before them. ``dns``: one of DNS, or ``tcp://HOST:PORT``, a name
    server that is asked through the chain that the name belongs to. ``bind_peer``: whom a BIND expects, the
    host that was connected to last, or any. ``isolate_streams``: SOCKS5 proxies without a username get one
    that no other process has. ``placeholders``: the IPv4 network of the addresses that stand for names,
    which no program needs for anything else. ``confine``: which programs run in a network of their own
    (``pywrap.confine``): auto, those that the patches cannot cover.

    Times are seconds: ``timeout`` for the whole chain, ``connect_timeout`` to reach the first hop and
    ``read_timeout`` for each answer of a hop, 0 for no limit of its own.
    ``verbosity``: -1 only errors (-q), 0 the default, 1 (-v) a line for each connection, 2 (-vv) more.
    ``keep_env``: the program sees variables that name proxies (``config.variables``). Otherwise they are
    hidden from it, and ``proxy_variables`` has their names and values, for children that are not covered.
    ``turns``: where the processes of a run count for round robins and note the names that have placeholders,
    made by the launcher; "" each for itself.
    """

    chains: tuple[Chain, ...] = (Chain(),)
    rules: tuple[Rule, ...] = ()
    rewrites: tuple[Rewrite, ...] = ()
    dns: str = "remote"
    placeholders: str = PLACEHOLDERS
    confine: str = "auto"  # one of CONFINE
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
    turns: str = ""
    verbosity: int = 0

    @property
    def chain(self) -> tuple[Proxy, ...]:
        """The proxies of the default chain."""
        return self.chains[0].proxies
