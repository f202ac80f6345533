"""A SOCKS5 request to a hop that wants GSSAPI (RFC 1961): the client's half, from greeting to reply."""

from __future__ import annotations

from pywrap.errors import AUTHENTICATED, UNHEARD, NoCommonMethod, ProtocolError, SocksError
from pywrap.socks import gssapi, v5
from pywrap.socks.wire import Establish, Recv, Send, Wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue, Endpoint

# The level of protection (RFC 1961 section 4.3) by its word in the settings.
LEVELS = {
    "none": gssapi.NONE,
    "integrity": gssapi.INTEGRITY,
    "confidentiality": gssapi.CONFIDENTIALITY,
}


def request(hop: Proxy, command: int, destination: Endpoint) -> Dialogue[Endpoint]:
    """Authenticate by Kerberos, ask for ``command``, and return the address of the first reply.

    GSSAPI is the only method that is offered. If no authentication were offered as well, a hop could choose
    that, and the traffic would go unprotected.

    Raises:
        SocksError: as ``v5.request``; AuthenticationFailed also where there is no ticket for the hop.
    """
    assert hop.kerberos is not None
    message = v5.pack_request(command, destination)
    yield Send(bytes([v5.VERSION, 1, gssapi.METHOD]))
    try:
        version, method = yield Recv(2)
        if version != v5.VERSION:
            raise ProtocolError(v5.not_socks(v5.VERSION, bytes([version, method])))
    except SocksError as err:
        raise err.copy(stage=UNHEARD) from err.__cause__
    if method == v5.NO_ACCEPTABLE_METHODS:
        raise NoCommonMethod("the proxy does not accept GSSAPI")
    if method != gssapi.METHOD:
        raise ProtocolError(f"the proxy picked authentication method {method}, never offered")
    establish = Establish(hop)
    yield establish
    context = establish.context
    assert context is not None, "the driver has made one"
    level = yield from gssapi.initiate(context, LEVELS[hop.kerberos.protection], establish.token)
    if level != gssapi.NONE:
        yield Wrap(gssapi.Encapsulation(context, level))
    yield Send(message)
    try:
        return (yield from v5.read_reply())
    except SocksError as err:
        raise err.copy(stage=AUTHENTICATED) from err.__cause__
