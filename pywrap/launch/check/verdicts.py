"""Which verdict on the proxy an error of a test allows, and its words for the report."""

from __future__ import annotations

from pywrap.errors import AuthenticationFailed, ProtocolError, ProxyClosed, Rejected, SocksError
from pywrap.launch.check.report import NO, UNKNOWN
from pywrap.socks import v5

# Codes of SOCKS5 replies and HTTP statuses that are about the proxy itself, not about the destination.
_ITS_OWN_LIMITS = (v5.COMMAND_NOT_SUPPORTED, v5.ADDRESS_TYPE_NOT_SUPPORTED, 405, 501)


def weigh(err: SocksError, certain: bool) -> str:
    """NO or UNKNOWN for a failure; ``certain``: whether the destination is known to exist."""
    if isinstance(err, Rejected):
        return NO if certain or err.code in _ITS_OWN_LIMITS else UNKNOWN
    if isinstance(err, ProxyClosed):
        # `ssh -D` refuses by closing the connection.
        return NO if certain else UNKNOWN
    return NO if isinstance(err, AuthenticationFailed | ProtocolError) else UNKNOWN


def words(err: SocksError) -> str:
    """The text of ``err`` for the report."""
    # The text begins with the name of a hop where the error is one of an earlier hop.
    return "it hangs up instead of answering" if str(err).startswith("the proxy hung up") else str(err)
