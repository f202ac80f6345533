"""An address as the socket module takes it, read without asking a resolver.

The C code resolves a name in an address *before* it raises its audit event. So the address has to be read
before the C code gets it.
"""

from __future__ import annotations

import _socket
from _operator import index

from pywrap.frozen import frozen
from pywrap.intercept import originals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


@frozen
class Target:
    """A destination that a program passes to an IP socket. ``host``: a literal, or a name in ASCII."""

    host: str
    port: int
    ipv6: bool
    datagram: bool


def target(sock: _socket.socket, address: Any) -> Target | None:
    """Read ``address``; None when the socket is of another family or the address malformed.

    A malformed address gets its TypeError from the C function to which the program passes it.

    Raises:
        socket.gaierror: no resolver would take the name.
    """
    family, kind, _ = originals.family_type_proto(sock)
    if not originals.is_inet(sock):
        return None
    if not isinstance(address, tuple) or len(address) < 2:
        return None
    try:
        host = host_text(address[0])
        port = index(address[1])
    except UnicodeError as err:
        if isinstance(address[0], str) and not address[0].isascii():
            return None
        # connect() and the like raise gaierror here, where getaddrinfo() raises UnicodeError.
        raise _unknown() from err
    except (TypeError, ValueError):
        return None
    # ``host_text`` has checked a short host that it returns unchanged.
    if host is not None and (host is not address[0] or len(host) > 63) and not _is_name(host):
        raise _unknown()
    if host is None or not 0 <= port <= 0xFFFF:
        return None
    return Target(host, port, family == _socket.AF_INET6, kind != _socket.SOCK_STREAM)


def with_host(address: Any, literal: str, port: int | None = None) -> Any:
    """``address`` with ``literal`` for its host, so that C has nothing to resolve; unchanged if that is "".

    ``port``: replaces the port of ``address``, together with a literal; None keeps it.
    """
    if not literal:
        return address
    return (literal, address[1] if port is None else port, *address[2:])


def host_text(host: Any) -> str | None:
    """``host`` in ASCII, IDNA applied; None when it is not a str or bytes.

    Raises:
        UnicodeError: IDNA cannot encode it, or a label is empty or too long.
        ValueError: it has a NUL, at which the C library would cut the name.
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
    """Whether the codec "idna", whose import takes milliseconds, would return ``host`` unchanged."""
    if len(host) < 64 and host[:1] != "." and ".." not in host:
        # No label is empty or too long.
        return True
    labels = host.split(".")
    if not labels[-1]:
        labels.pop()
    return all(0 < len(label) < 64 for label in labels) or ":" in host


def _is_name(host: str) -> bool:
    """Whether ``host`` has the lengths of a name (RFC 1035 section 2.3.4), or is a literal."""
    return _plain(host) and len(host) <= 254


def _unknown() -> _socket.gaierror:
    return _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")
