"""Exceptions, and the errno that a program sees for each.

Inside ``pywrap`` a failed conversation with a proxy is a ``SocksError``. Exactly one
place per intercepted call turns it into an ``OSError``: the errno is for the program,
the text for the person who reads it.
"""

from __future__ import annotations

import errno


class ConfigError(Exception):
    """The settings are wrong or missing: a person must change something.

    ``hint`` is a second line that says what to do, or "".
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class SocksError(Exception):
    """A conversation with a proxy failed; ``errno`` is what connect() will report."""

    errno = errno.ECONNREFUSED

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        if errno is not None:
            self.errno = errno


class Rejected(SocksError):
    """The proxy understood the request and refused it (RFC 1928 section 6, reply ≠ 0)."""

    def __init__(self, message: str, errno: int, code: int) -> None:
        super().__init__(message, errno)
        self.code = code


class AuthenticationFailed(SocksError):
    """No acceptable method (RFC 1928 section 3), or a refused password (RFC 1929)."""

    errno = errno.EACCES


class ProtocolError(SocksError):
    """The other end does not speak SOCKS, or not this version."""

    errno = errno.EPROTO


class ProxyClosed(SocksError):
    """The other end hung up in the middle of a message."""

    errno = errno.ECONNRESET


class ProxyTimeout(SocksError):
    """The handshake took longer than it may."""

    errno = errno.ETIMEDOUT


class Unencodable(SocksError):
    """The destination or the credentials cannot be said in this version of SOCKS."""

    errno = errno.EAFNOSUPPORT


def to_oserror(err: SocksError) -> OSError:
    """Turn ``err`` into the exception that connect() would raise.

    Calls OSError itself, never a subclass of ours: only then does Python pick
    ConnectionRefusedError, TimeoutError and so on from the errno.
    """
    return OSError(err.errno, str(err))
