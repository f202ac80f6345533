"""What a user can decide, as immutable values that every reader produces and every floor takes.

Plain text and numbers only: the launcher hands them to the target through one environment
variable (``handover``), and the target compiles what it needs (``tunnel.routes``).
"""

from __future__ import annotations

from pywrap.frozen import frozen

SCHEMES = ("socks4", "socks4a", "socks5", "socks5h")
DNS = ("remote", "local")
LOOPBACK = ("direct", "proxy", "deny")
UDP = ("associate", "block", "direct")
LISTEN = ("local", "bind")
CHAIN_TYPES = ("strict", "dynamic", "random", "round_robin")
DEFAULT_PORT = 1080


@frozen
class Proxy:
    """One hop of a chain.

    ``socks4`` is the version without names; ``socks5`` and ``socks5h`` are the same on the
    wire, and who resolves names is decided by ``Settings.dns``. Username and password are
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
class Direct:
    """Destinations that are reached without a proxy.

    Either a network (``192.168.0.0/16``, ``fd00::/8``, a single address as /32 or /128; normalized) or
    a name (``*.corp.example`` or ``host.example``, lower case, IDNA applied); ``port`` 0 means all ports.
    """

    network: str = ""
    name: str = ""
    port: int = 0

    def __str__(self) -> str:
        what = self.network or self.name
        if not self.port:
            return what
        return f"[{what}]:{self.port}" if ":" in what else f"{what}:{self.port}"


@frozen
class Settings:
    """Everything that the target process must know.

    Times are seconds: ``timeout`` for the whole chain, ``connect_timeout`` to reach the first hop and
    ``read_timeout`` for each answer of a hop, 0 for no limit of its own.
    ``verbosity``: -1 only errors (-q), 0 the default, 1 (-v) a line for each connection, 2 (-vv) more.
    """

    chain: tuple[Proxy, ...] = ()
    dns: str = "remote"  # one of DNS
    loopback: str = "direct"  # one of LOOPBACK
    direct: tuple[Direct, ...] = ()
    udp: str = "associate"  # one of UDP
    listen: str = "local"  # one of LISTEN
    timeout: float = 60.0
    connect_timeout: float = 0.0
    read_timeout: float = 0.0
    verbosity: int = 0
