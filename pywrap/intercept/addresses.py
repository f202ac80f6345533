"""An address as the socket module takes it, read without asking a resolver.

The C code resolves a name in an address *before* it raises its audit event: what we want to decide about
has to be looked at here.
"""

from __future__ import annotations

import _socket
from operator import index

from pywrap.frozen import frozen
from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@frozen
class Target:
    """Where an IPv4 or IPv6 socket is told to go. ``host`` is a literal or a name in ASCII."""

    host: str
    port: int
    ipv6: bool
    datagram: bool


def target(sock: _socket.socket, address: Any) -> Target | None:
    """Read ``address``; None when the socket is of another family or the address malformed.

    A malformed address gets its TypeError from the function that it was meant for.

    Raises:
        UnicodeError: the name cannot be encoded, as from the socket module itself.
    """
    family, kind, _ = originals.family_type_proto(sock)
    if family != _socket.AF_INET and family != _socket.AF_INET6:
        return None
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    host = host_text(address[0])
    try:
        port = index(address[1])
    except TypeError:
        return None
    if host is None or not 0 <= port <= 0xFFFF:
        return None
    return Target(host, port, family == _socket.AF_INET6, kind != _socket.SOCK_STREAM)


def with_host(address: Any, literal: str, port: int | None = None) -> Any:
    """``address`` with ``literal`` for its host, so that C has nothing to resolve; as it is without one.

    ``port``, with a literal, is the port in place of its own.
    """
    if not literal:
        return address
    return (literal, address[1] if port is None else port, *address[2:])


def host_text(host: Any) -> str | None:
    """``host`` in ASCII, IDNA applied; None when it is not a str or bytes.

    Raises:
        UnicodeError: no encoding, or a label that is empty or too long.
        ValueError: a NUL in it, which would end the name for the C library.
    """
    if isinstance(host, str):
        if not host.isascii() or not _plain(host):
            host = host.encode("idna").decode("ascii")
    elif isinstance(host, bytes | bytearray):
        host = host.decode("ascii")
    else:
        return None
    if "\0" in host:
        raise ValueError("embedded null character")
    return str(host)


def _plain(host: str) -> bool:
    """Would the idna codec leave it as it is? It takes milliseconds to import."""
    labels = host.split(".")
    if not labels[-1]:
        labels.pop()
    return all(0 < len(label) < 64 for label in labels) or ":" in host
