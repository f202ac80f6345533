"""Exceptions, and how each becomes an ``OSError``.

Inside ``pywrap`` a failed conversation with a proxy is a ``SocksError``. Exactly one
place per intercepted call turns it into an ``OSError``: the errno is for the program,
the text for the user. Which errno a proxy's reply means is decided in
``pywrap.socks.reply_errno``, and for a connection that breaks, by the classes here.
"""

from __future__ import annotations

import errno

from pywrap.config.config_error import ConfigError as ConfigError
from pywrap.config.config_error import counted as counted
from pywrap.config.config_error import mask as mask
from pywrap.frozen import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from pywrap.config.settings import Proxy

    E = TypeVar("E", bound="SocksError")


# How far the conversation with a hop had come when it failed (``SocksError.stage``).
#
# The hop had sent nothing of its protocol. So the hop before it may have granted the connection to it without
# having one.
UNHEARD = "unheard"
# The hop had accepted the client, and was asked for the next hop or the destination.
AUTHENTICATED = "authenticated"


@frozen
class Failure:
    """Which hop of a path failed: what ``tunnel`` concludes from an error, to choose the next attempt.

    ``hop``: the hop whose answer was awaited, or that could not be reached; None for an error that is of no
    hop. ``blamed``: the hop that cannot be reached, does not answer, or refuses the client; None when the
    destination was refused. ``certain`` is False when the connection was closed, which may be a refusal
    (``ssh -D`` sends no other) or the end of any hop up to ``hop``.
    """

    hop: Proxy | None = None
    blamed: Proxy | None = None
    certain: bool = True


class SocksError(Exception):
    """A conversation with a proxy failed; ``errno`` is what connect() will report.

    ``stage``: UNHEARD, AUTHENTICATED, or "". ``failure``: set by ``tunnel``.

    Immutable: several connections may report one error. Code that knows more raises a ``copy``.
    """

    errno = errno.ECONNREFUSED
    stage = ""
    failure = Failure()

    def __init__(self, message: str, errno: int | None = None) -> None:
        super().__init__(message)
        if errno is not None:
            vars(self)["errno"] = errno

    def copy(self: E, message: str | None = None, **attributes: object) -> E:
        """A new error of the same class and traceback, with another ``message`` or other ``attributes``."""
        made = type(self).__new__(type(self), str(self) if message is None else message)
        vars(made).update(vars(self), **attributes)
        return made.with_traceback(self.__traceback__)

    def __setattr__(self, name: str, value: object) -> None:
        """Let the interpreter and ``contextlib`` set what ``raise`` sets, and refuse everything else."""
        if name not in _SET_BY_RAISE:
            raise AttributeError(f"{type(self).__name__}.{name} cannot be changed: raise a copy()")
        super().__setattr__(name, value)


_SET_BY_RAISE = frozenset({"__traceback__", "__context__", "__cause__", "__suppress_context__", "__notes__"})


class Rejected(SocksError):
    """The proxy understood the request and refused it with ``code`` (RFC 1928 section 6, reply ≠ 0)."""

    code = 0

    def __init__(self, message: str, errno: int, code: int) -> None:
        super().__init__(message, errno)
        vars(self)["code"] = code


class AuthenticationFailed(SocksError):
    """The proxy refuses the client: its password is wrong (RFC 1929), or it has sent none."""

    errno = errno.EACCES


class NoCommonMethod(AuthenticationFailed):
    """The proxy accepts no method that was offered (RFC 1928 section 3)."""


class ProtocolError(SocksError):
    """The other end does not speak SOCKS, or not this version."""

    errno = errno.EPROTO


class ProxyClosed(SocksError):
    """The other end closed the connection in the middle of a message."""

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

    Its cause is ``err``.
    """
    error = OSError(err.errno, str(err))
    error.__cause__ = err
    return error
