"""From the code of a proxy's reply to the errno that the program sees, and the text that the user reads.

Programs act on the errno: another address is tried after ECONNREFUSED, and a time-out is retried. The text
names the actual reason. An HTTP proxy's statuses are in ``http``; ``pywrap.errors`` makes the ``OSError``.
"""

from __future__ import annotations

import errno

from pywrap.errors import Rejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

# By REP (RFC 1928 section 6).
SOCKS5 = {
    1: ("general failure of the proxy", errno.ECONNREFUSED),
    2: ("not allowed by the proxy's rules", errno.EACCES),
    3: ("network unreachable", errno.ENETUNREACH),
    4: ("host unreachable", errno.EHOSTUNREACH),
    5: ("connection refused", errno.ECONNREFUSED),
    6: ("TTL expired", errno.ETIMEDOUT),
    7: ("command not supported by the proxy", errno.EOPNOTSUPP),
    8: ("address type not supported by the proxy", errno.EAFNOSUPPORT),
    # Tor's own, for onion services, where its SocksPort has ExtendedErrors
    # (https://spec.torproject.org/proposals/304-socks5-extending-hs-error-codes.html).
    0xF0: ("onion service: descriptor not found (Tor's F0)", errno.EHOSTUNREACH),
    0xF1: ("onion service: invalid descriptor (Tor's F1)", errno.EHOSTUNREACH),
    0xF2: ("onion service: introduction failed (Tor's F2)", errno.EHOSTUNREACH),
    0xF3: ("onion service: rendezvous failed (Tor's F3)", errno.EHOSTUNREACH),
    0xF4: ("onion service: client authorization is missing (Tor's F4)", errno.EACCES),
    0xF5: ("onion service: wrong client authorization (Tor's F5)", errno.EACCES),
    0xF6: ("onion service: invalid address (Tor's F6)", errno.EHOSTUNREACH),
    0xF7: ("onion service: introduction timed out (Tor's F7)", errno.ETIMEDOUT),
}

# By CD of the reply (https://www.openssh.com/txt/socks4.protocol).
SOCKS4 = {
    91: ("rejected or failed", errno.ECONNREFUSED),
    92: ("the proxy cannot reach our identd", errno.EACCES),
    93: ("our identd reports another user", errno.EACCES),
}


def refusal(table: Mapping[int, tuple[str, int]], code: int) -> Rejected:
    """The error for a reply with ``code``, which is no success; an unassigned one is ECONNREFUSED."""
    text, number = table.get(code, (f"unassigned reply code {code}", errno.ECONNREFUSED))
    return Rejected(text, number, code)
