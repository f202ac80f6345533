"""What an error of a test tells about the proxy."""

from __future__ import annotations

from pywrap.errors import AuthenticationFailed, ProtocolError, ProxyClosed, Rejected, SocksError
from pywrap.launch.check.report import NO, UNKNOWN
from pywrap.socks import v5

# These are about the proxy, wherever the destination is: replies of SOCKS5, statuses of HTTP.
_ITS_OWN_LIMITS = (v5.COMMAND_NOT_SUPPORTED, v5.ADDRESS_TYPE_NOT_SUPPORTED, 405, 501)


def weigh(err: SocksError, certain: bool) -> str:
    """What a failure tells: nothing for sure, when the destination may not be there."""
    if isinstance(err, Rejected):
        return NO if certain or err.code in _ITS_OWN_LIMITS else UNKNOWN
    if isinstance(err, ProxyClosed):
        # How `ssh -D` refuses.
        return NO if certain else UNKNOWN
    return NO if isinstance(err, AuthenticationFailed | ProtocolError) else UNKNOWN


def words(err: SocksError) -> str:
    """``err`` as a report says it."""
    # The hop's name is in front where it was one of those before.
    return "it hangs up instead of answering" if str(err).startswith("the proxy hung up") else str(err)
