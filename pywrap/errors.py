"""Exceptions, and the errno that a program sees for each.

Inside ``pywrap`` a failed conversation with a proxy is a ``SocksError``. Exactly one
place per intercepted call turns it into an ``OSError``: the errno is for the program,
the text for the person who reads it.
"""

from __future__ import annotations

import errno

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy


def mask(text: str) -> str:
    """``text``, a URL or not, with ``***`` in the place of what may be its password."""
    head, at, place = text.rpartition("@")
    scheme, separator, login = head.partition("://")
    if not separator or not scheme.replace("+", "").isalnum():
        # This :// is no end of a scheme: it may be a part of the password.
        scheme, separator, login = "", "", head
    user, colon, _ = login.partition(":")
    return f"{scheme}{separator}{user}{':***' if colon else ''}{at}{place}"


def counted(number: int, noun: str) -> str:
    """``1 byte``, ``2 bytes``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


class ConfigError(Exception):
    """The settings are wrong or missing: a person must change something.

    ``hint`` is a second line that says what to do, or "".
    """

    def __init__(self, message: str, hint: str = "") -> None:
        # Text between backquotes is the user's, and may have a password in the wrong place.
        quoted = message.split("`")
        quoted[1::2] = map(mask, quoted[1::2])
        super().__init__("`".join(quoted))
        self.hint = hint


class SocksError(Exception):
    """A conversation with a proxy failed; ``errno`` is what connect() will report.

    ``tunnel`` notes the rest, to decide whether another path may succeed. ``hop``: the hop whose answer was
    awaited. ``dead``: the hop that cannot be reached, does not answer, or does not let us in; None when the
    destination was refused. ``in_doubt``: the connection was closed, which may be a refusal (``ssh -D`` has
    no other) or the failure of any hop up to ``hop``. ``authenticated``: ``hop`` had let us in before.
    ``unheard``: ``hop`` had sent nothing of its protocol, so the hop before it may have granted the
    connection to it without having one.
    """

    errno = errno.ECONNREFUSED
    hop: Proxy | None = None
    dead: Proxy | None = None
    in_doubt = False
    authenticated = False
    unheard = False

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        if errno is not None:
            self.errno = errno


class Rejected(SocksError):
    """The proxy understood the request and refused it with ``code`` (RFC 1928 section 6, reply ≠ 0)."""

    def __init__(self, message: str, errno: int, code: int) -> None:
        super().__init__(message, errno)
        self.code = code


class AuthenticationFailed(SocksError):
    """The proxy does not let us in: it refuses the password (RFC 1929), or wants one and got none."""

    errno = errno.EACCES


class NoCommonMethod(AuthenticationFailed):
    """The proxy accepts no method that was offered (RFC 1928 section 3)."""


class ProtocolError(SocksError):
    """The other end does not speak SOCKS, or not this version."""

    errno = errno.EPROTO


class ProxyClosed(SocksError):
    """The other end hung up in the middle of a message."""

    errno = errno.ECONNRESET


class ProxyTimeout(SocksError):
    """The handshake took longer than the timeouts in the settings allow."""

    errno = errno.ETIMEDOUT


class Unencodable(SocksError):
    """No message of this version of SOCKS can carry the destination or the credentials."""

    errno = errno.EAFNOSUPPORT


def to_oserror(err: SocksError) -> OSError:
    """Turn ``err`` into the exception that connect() would raise.

    Calls OSError itself, never a subclass of ours: only then does Python pick
    ConnectionRefusedError, TimeoutError and so on from the errno.
    """
    return OSError(err.errno, str(err))
