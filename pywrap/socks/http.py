"""HTTP CONNECT (RFC 9110 section 9.3.6), the client's half. No sockets, no clock, no logging.

The head of the answer has no length: it ends with an empty line, and the byte after that belongs to the
program. So each read asks only for bytes that the head must still have, mostly two: the end of the line and
the empty line. Interim answers (1xx), any number of which may come first, are read in the same way.
"""

from __future__ import annotations

import errno
from binascii import b2a_base64

from pywrap.errors import AuthenticationFailed, ProtocolError, Rejected, SocksError, Unencodable
from pywrap.socks.v5 import name_bytes
from pywrap.socks.wire import Endpoint, Recv, Send, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.socks.wire import Dialogue

# The only 1xx that is not interim: it switches to another protocol, which we have not asked for.
SWITCHING_PROTOCOLS = 101
FORBIDDEN = 403
AUTHENTICATION_REQUIRED = 407

# The text and the errno for each status, as in ``v5``: programs act on the errno, the text names the reason.
# For a refused connection proxies answer 500 (tinyproxy), 502, or 503 (Squid).
REFUSALS = {
    401: ("the proxy asks for a login of its own", errno.EACCES),
    FORBIDDEN: ("not allowed by the proxy's rules", errno.EACCES),
    404: ("host not found by the proxy", errno.EHOSTUNREACH),
    405: ("CONNECT not supported by the proxy", errno.EOPNOTSUPP),
    500: ("failure of the proxy", errno.ECONNREFUSED),
    501: ("CONNECT not supported by the proxy", errno.EOPNOTSUPP),
    502: ("connection failed", errno.ECONNREFUSED),
    503: ("connection failed", errno.ECONNREFUSED),
    504: ("connection timed out", errno.ETIMEDOUT),
}

# Statuses of answers whose head may have the reason in a header field.
_ELABORATED = (FORBIDDEN, 500, 502, 503, 504)
_SQUID, _PROXY_STATUS = b"x-squid-error", b"proxy-status"

# Squid's names for it in `X-Squid-Error` (its err_type.h); those of RFC 9209 section 2.3 in `Proxy-Status`.
_UNREACHABLE = ("host unreachable", errno.EHOSTUNREACH)
_REFUSED = ("connection refused", errno.ECONNREFUSED)
_REASONS = {
    b"ERR_ACCESS_DENIED": REFUSALS[FORBIDDEN],
    b"ERR_CANNOT_FORWARD": REFUSALS[502],
    b"ERR_CONNECT_FAIL": REFUSALS[502],
    b"ERR_DNS_FAIL": REFUSALS[404],
    b"ERR_FORWARDING_DENIED": REFUSALS[FORBIDDEN],
    b"ERR_LIFETIME_EXP": REFUSALS[504],
    b"ERR_READ_TIMEOUT": REFUSALS[504],
    b"connection_refused": _REFUSED,
    b"connection_timeout": REFUSALS[504],
    b"destination_ip_prohibited": REFUSALS[FORBIDDEN],
    b"destination_ip_unroutable": _UNREACHABLE,
    b"destination_not_found": REFUSALS[404],
    b"dns_error": REFUSALS[404],
    b"dns_timeout": REFUSALS[404],
    b"http_request_denied": REFUSALS[FORBIDDEN],
}
# The errno that Squid reports for a failed connection, by the numbers of Linux; other numbers are ignored.
_CONNECT_ERRNOS = {
    b"%d" % errno.ECONNREFUSED: _REFUSED,
    b"%d" % errno.ENETUNREACH: ("network unreachable", errno.ENETUNREACH),
    b"%d" % errno.EHOSTUNREACH: _UNREACHABLE,
    b"%d" % errno.ETIMEDOUT: REFUSALS[504],
}

# Bytes. The limit that servers have for the head of a request; answers to CONNECT are shorter.
LONGEST_HEAD = 16384

# The length of "HTTP/1.1 200" without its first byte.
_STATUS = 11


def connect(
    destination: Endpoint, username: bytes | None = None, password: bytes | None = None
) -> Dialogue[Endpoint]:
    """Ask for a connection to ``destination``; no address comes back, so the result is 0.0.0.0:0.

    ``username`` and ``password``: for basic authentication (RFC 7617); None sends no credentials.

    Raises:
        Rejected, AuthenticationFailed, ProtocolError, Unencodable: see ``pywrap.errors``.
    """
    yield Send(pack_request(destination, username, password))
    yield from read_answer(username is not None)
    return Endpoint("0.0.0.0", 0)


def granting_reply() -> bytes:
    """The bytes by which most proxies grant a ``connect``."""
    return b"HTTP/1.1 200 OK\r\n\r\n"


def pack_request(destination: Endpoint, username: bytes | None, password: bytes | None) -> bytes:
    """The head of a CONNECT request (RFC 9110 section 9.3.6), with its empty line.

    Raises:
        Unencodable: the name does not fit into a line, or the username into basic authentication.
    """
    host = destination.host.partition("%")[0].encode("ascii") if packed(destination.host) else None
    if host is None:
        host = name_bytes(destination.host)
        if any(byte <= 0x20 or byte == 0x7F or byte in b":/?#@[]" for byte in host):
            raise Unencodable(f"HTTP cannot carry this name: {destination.host!r}", errno.EINVAL)
    elif b":" in host:
        host = b"[" + host + b"]"
    place = host + b":" + str(destination.port).encode()
    head = b"CONNECT " + place + b" HTTP/1.1\r\nHost: " + place + b"\r\n"
    if username is not None:
        # RFC 7617 section 2.
        if b":" in username:
            raise Unencodable("a username with a colon cannot be said in HTTP", errno.EINVAL)
        login = b2a_base64(username + b":" + (password or b""), newline=False)
        head += b"Proxy-Authorization: Basic " + login + b"\r\n"
    return head + b"\r\n"


def read_answer(logged_in: bool) -> Dialogue[None]:
    """Read the answer to a CONNECT, up to the byte before the tunnel's first (RFC 9110 section 9.3.6).

    ``logged_in``: whether credentials were sent.

    Raises:
        AuthenticationFailed: the proxy asks for a login, or refuses the one that was sent.
        Rejected: any other status than 2xx.
        ProtocolError: the answer is no HTTP.
    """
    status = yield from _read_status()
    size = 0
    while 100 <= status <= 199 and status != SWITCHING_PROTOCOLS:
        # An interim response, which says nothing yet (RFC 9110 section 15.2).
        size = yield from _read_headers(size)
        status = yield from _read_status()
    # 401 is for the login of a server, but tinyproxy answers it to a wrong password for the proxy.
    if status == AUTHENTICATION_REQUIRED:
        schemes = _schemes_in((yield from _read_lines(size)))
        if schemes and "basic" not in map(str.lower, schemes):
            raise AuthenticationFailed(
                f"the proxy asks for {' or '.join(schemes)} authentication, and only Basic is known here"
            )
    if status == AUTHENTICATION_REQUIRED or (status == 401 and logged_in):
        raise AuthenticationFailed(
            "the proxy refused the username or the password"
            if logged_in
            else "the proxy asks for authentication, and no username was given"
        )
    if not 200 <= status <= 299:
        lines = (yield from _read_lines(size)) if status in _ELABORATED else []
        text, number = _refusal(status, lines)
        raise Rejected(text, number, status)
    # Any 2xx is a tunnel, whatever the headers say of a length (section 9.3.6).
    yield from _read_headers(size)


def _read_lines(size: int) -> Dialogue[list[bytes]]:
    """The lines of a refusal's head after its status, as far as they come: some proxies hang up early."""
    head = bytearray()
    try:
        yield from _read_headers(size, head)
    except SocksError:
        # The proxy has hung up early. It is a refusal all the same, by its status.
        pass
    return bytes(head).replace(b"\r\n", b"\n").split(b"\n")


def _schemes_in(lines: list[bytes]) -> list[str]:
    """The authentication schemes that a head of these ``lines`` offers, each once."""
    schemes: dict[str, None] = {}
    for line in lines:
        name, _, value = line.decode("latin-1").partition(":")
        if name.strip().lower() == "proxy-authenticate":
            schemes.update(dict.fromkeys(_schemes(value)))
    return list(schemes)


def _schemes(challenges: str) -> list[str]:
    """The schemes of a list of challenges (RFC 9110 section 11.6.1): ``Basic realm="a, b", NTLM``."""
    # Without the parts inside quotes, which are every second one.
    plain = "".join(challenges.split('"')[::2])
    first_words = [item.split()[0] for item in plain.split(",") if item.strip()]
    # Items with a = are parameters of the scheme before them.
    return [word for word in first_words if "=" not in word]


def _refusal(status: int, lines: list[bytes]) -> tuple[str, int]:
    """The text for users of a refusal with ``status``, and its errno.

    ``lines``: of the refusal's head, first what follows the status in the status line.
    """
    unknown = (f"HTTP status {status}", errno.ECONNREFUSED)
    text, number = REFUSALS.get(status, unknown)
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == _SQUID:
            said, _, met = value.strip().partition(b" ")
        elif name.strip().lower() == _PROXY_STATUS:
            said, met = value.partition(b"error=")[2].partition(b";")[0].partition(b",")[0].strip(), b""
        else:
            continue
        if said in _REASONS:
            text, number = _CONNECT_ERRNOS.get(met, _REASONS[said])
            return f"{text} (HTTP {status}, {said.decode()})", number
    if lines[:2] == [b" Gateway Timeout", b""]:
        # Ncat 7.93 answers exactly this, and at once, to every failure, so it need not be a time-out.
        return f"connection failed (HTTP {status})", errno.ECONNREFUSED
    return (f"{text} (HTTP {status})" if status in REFUSALS else text), number


def _read_headers(size: int, head: bytearray | None = None) -> Dialogue[int]:
    """Read what follows the status of a head into ``head``; return the bytes of all heads so far.

    ``size``: the bytes of the interim heads before this one.
    """
    # Any line, and so the empty one, ends with LF or CR LF (RFC 9112 section 2.2).
    size += 1 + _STATUS
    end = b""
    while not end.endswith((b"\n\n", b"\n\r\n")):
        step = 1 if end.endswith((b"\n", b"\n\r")) else 2
        size += step
        if size > LONGEST_HEAD:
            raise ProtocolError(f"not an HTTP proxy: a head of more than {LONGEST_HEAD} bytes")
        piece = yield Recv(step)
        if head is not None:
            head += piece
        end = end[-2:] + piece
    return size


def _read_status() -> Dialogue[int]:
    start = yield Recv(1)
    if start != b"H":
        raise ProtocolError(_not_http(start))
    start += yield Recv(_STATUS)
    version, _, status = start.partition(b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not status.isdigit():
        raise ProtocolError(_not_http(start))
    return int(status)


def _not_http(start: bytes) -> str:
    if start[:1] in (b"\0", b"\4", b"\5"):
        return "not an HTTP proxy: it answers like a SOCKS server"
    if start[:1] == b"S":
        return "not an HTTP proxy: it answers like an SSH server"
    if start[:1] in (b"\x15", b"\x16"):
        return "not an HTTP proxy: it answers like a TLS server"
    return f"probably not an HTTP proxy: its answer starts with {start!r}"
