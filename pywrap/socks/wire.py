"""What a dialogue is made of: ``Send``, ``Recv``, and the ``Endpoint`` that messages carry.

A dialogue is a generator that yields what to send and how many bytes to receive; the caller
that runs it (the driver) owns the socket. Sizes are exact, because the bytes after a reply belong
to the program that we run, and nothing can push data back into a kernel socket.

The driver answers a ``Send`` with ``b""`` and a ``Recv`` with exactly that many bytes. When it
cannot, it throws ``ProxyClosed`` or ``ProxyTimeout`` into the generator, so that a chain can name
the hop that failed.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_aton, inet_ntop, inet_pton

from pywrap.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Generator
    from typing import Any, Protocol, Self, TypeAlias, TypeVar

    from pywrap.config.settings import Proxy

    T = TypeVar("T")

    class Context(Protocol):
        """One end of a GSSAPI security context. Each method may raise SocksError."""

        @property
        def is_complete(self) -> bool: ...
        @property
        def peer(self) -> bytes:
            """The name of the other end, such as ``user@REALM``."""

        def step(self, token: bytes) -> bytes:
            """Process a token of the other end, b"" at the beginning; return the next one for it, or b""."""

        def wrap(self, data: bytes, secret: bool) -> bytes: ...
        def unwrap(self, token: bytes) -> tuple[bytes, bool]:
            """The data in ``token``, and whether it was encrypted (secret)."""

    Dialogue: TypeAlias = Generator["Send | Recv", bytes, T]

    # A conversation that is known beforehand: what to send (``Send``), the bytes that the answer to it has in
    # most cases (bytes), and how many bytes of any kind follow (int).
    Script: TypeAlias = tuple["Send | bytes | int", ...]

# IPv4-mapped IPv6 addresses (RFC 4291 section 2.5.5.2): the first 12 of their bytes, and as text.
V4_MAPPED = bytes(10) + b"\xff\xff"
V4_MAPPED_TEXT = "::ffff:"

# The number of a command that neither SOCKS4, SOCKS5 (RFC 1928 section 4) nor Tor (F0, F1) has. A server that
# understands a request for it refuses, and does nothing.
IMPOSSIBLE = 0x7F

_LOOPBACK_6 = bytes(15) + b"\1"


class Send(bytes):
    """Send these bytes by one call: microsocks expects each message in one segment of its own."""

    __slots__ = ()


class Recv(int):
    """Receive exactly this many bytes. ``phase``: the part of a handshake that they belong to, for a log."""

    __slots__ = ()
    phase = "reply"


class RecvGreeting(Recv):
    """Receive the method of authentication that the other end picks."""

    __slots__ = ()
    phase = "greeting"


class RecvLogin(Recv):
    """Receive whether the other end accepts the credentials."""

    __slots__ = ()
    phase = "login"


class Later(Recv):
    """Wait for a result that does not come from the peer, such as the check of a hashed password.

    The driver calls ``start(resume)``; ``resume`` is called once, later, with the result, a bool. The
    dialogue gets ``b"\\1"`` for True and ``b""`` for False. A driver that knows only ``Recv``
    answers ``b""``, since this asks for 0 bytes.
    """

    start: Callable[[Callable[[bool], None]], None]

    def __new__(cls, start: Callable[[Callable[[bool], None]], None]) -> Later:
        self = super().__new__(cls, 0)
        self.start = start
        return self


class Aside(Recv):
    """A step that is neither sending nor receiving, and that only some drivers can do.

    A driver that knows only ``Recv`` answers ``b""``, since it asks for 0 bytes.
    """

    def __new__(cls, *what: Any) -> Self:
        return super().__new__(cls, 0)


class Wrap(Aside):
    """From now on, pass all bytes of both directions through ``codec`` (a ``relay.wrapped.Codec``)."""

    def __init__(self, codec: Any) -> None:
        self.codec = codec


class Secure(Aside):
    """From now on, pass all bytes through TLS, as a client of ``hop``."""

    def __init__(self, hop: Proxy) -> None:
        self.hop = hop


class Establish(Aside):
    """Make a GSSAPI ``context`` for ``hop``, and its first ``token``. It waits for an answer of the KDC."""

    def __init__(self, hop: Proxy) -> None:
        self.hop = hop
        self.context: Context | None = None
        self.token = b""
        # For drivers that make the context in a thread: whether that has begun, and why it has failed.
        self.is_begun = False
        self.error: Exception | None = None


class Pending(Exception):
    """An ``Aside`` is not done yet: the driver has to take it again as soon as ``sock`` is readable.

    The driver then owns ``sock``, and closes it.
    """

    def __init__(self, sock: socket) -> None:
        super().__init__("it takes a while")
        self.sock = sock


@frozen
class Endpoint:
    """A host and a TCP or UDP port. ``host`` is an IPv4 or IPv6 literal, or a name in ASCII."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def packed(host: str) -> bytes | None:
    """The 4 or 16 bytes, in network order, of an IP literal; None when ``host`` is a name."""
    try:
        if ":" not in host:
            return inet_pton(AF_INET, host)
        # The zone (fe80::1%eth0) is an interface of one machine: no message has room for it.
        return inet_pton(AF_INET6, host.partition("%")[0])
    except (OSError, ValueError):
        # ValueError: a NUL or a lone surrogate in it.
        return None


def unpacked(address: bytes) -> str:
    """The literal of an ``address`` of 4 or 16 bytes in network order, as inet_ntop(3) writes it."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)


def unmapped_bytes(address: bytes) -> bytes:
    """The 4 bytes of the IPv4 address in an IPv4-mapped one of 16 bytes; any other ``address`` as it is."""
    return address.removeprefix(V4_MAPPED) if len(address) == 16 else address


def unmapped(host: str) -> str:
    """``192.0.2.1`` for ``::ffff:192.0.2.1``; any other literal, as inet_ntop(3) spells it, unchanged."""
    return host.removeprefix(V4_MAPPED_TEXT) if "." in host else host


def for_ipv6_socket(literal: str) -> str:
    """The literal by which an AF_INET6 socket names an address: IPv4 is mapped, IPv6 is unchanged."""
    return literal if ":" in literal else V4_MAPPED_TEXT + literal


def is_loopback(address: bytes) -> bool:
    """Whether ``address``, 4 or 16 bytes, is of 127.0.0.0/8 (RFC 1122 section 3.2.1.3) or ::1 (RFC 4291)."""
    return address[0] == 127 if len(address) == 4 else address == _LOOPBACK_6


# The characters of an IPv4 address in the forms that inet_aton(3) reads. It would ignore text behind a blank.
_OF_OLD_FORMS = frozenset("0123456789abcdefABCDEFxX.")


def with_plain_address(endpoint: Endpoint) -> Endpoint:
    """``endpoint``, or the address that it names when its host spells one in another way.

    socat 1.8 and undici send ``[::1]`` as a name. getaddrinfo(3), here or at a proxy, takes ``127.1``,
    ``0x7f.1`` and ``2130706433`` for 127.0.0.1, and the kernel ``::ffff:7f00:1``: as names they would pass
    all rules about addresses. No host has such a name.
    """
    host = endpoint.host
    if ":" in host:
        literal = host[1:-1] if host[0] == "[" and host[-1] == "]" else host
        address = packed(literal)
        if address is None:
            return endpoint
        # An IPv4 address has no zone.
        zone = "" if address.startswith(V4_MAPPED) else literal[len(literal.partition("%")[0]) :]
        return Endpoint(unpacked(address) + zone, endpoint.port)
    if host[:1].isdigit() and packed(host) is None and _OF_OLD_FORMS.issuperset(host):
        try:
            return Endpoint(unpacked(inet_aton(host)), endpoint.port)
        except OSError:
            # A name, such as 1.de.
            pass
    return endpoint


def is_unspecified(host: str) -> bool:
    """Whether ``host`` is 0.0.0.0 or ::, also as ::ffff:0.0.0.0; connect() takes these for this machine."""
    return not any(packed(unmapped(host)) or b"\1")
