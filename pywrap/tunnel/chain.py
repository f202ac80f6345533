"""A path of proxies as one dialogue: each hop is asked for the next, the last for the destination."""

from __future__ import annotations

import errno

from pywrap.errors import (
    AUTHENTICATED,
    UNHEARD,
    Failure,
    ProtocolError,
    ProxyClosed,
    ProxyTimeout,
    Rejected,
    SocksError,
    Unencodable,
)
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, Secure, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.config.settings import Proxy
    from pywrap.socks.wire import Dialogue


# For each command: what an error's text says of it; and its name, where some protocol lacks it.
_ASKED = {
    v5.CONNECT: "asked for {}",
    v5.BIND: "asked to BIND for {}",
    v5.UDP_ASSOCIATE: "asked for UDP",
    v5.RESOLVE: "asked to resolve {.host}",
    v5.RESOLVE_PTR: "asked for the name of {.host}",
}
_COMMANDS = {v5.BIND: "BIND", v5.UDP_ASSOCIATE: "UDP", v5.RESOLVE: "RESOLVE", v5.RESOLVE_PTR: "RESOLVE_PTR"}
_NOT_OF_SOCKS4 = (v5.UDP_ASSOCIATE, v5.RESOLVE_PTR)

_NOWHERE = Endpoint("0.0.0.0", 0)

# The destination of probes that see whether a hop answers: the discard service (RFC 863) of the hop's own
# machine, which hardly any machine has. Messages leave it out, since no program asked for it.
ITSELF = Endpoint("127.0.0.1", 9)


def handshake(
    chain: tuple[Proxy, ...],
    destination: Endpoint,
    command: int = v5.CONNECT,
    pipelined: tuple[bool, ...] = (),
    asking: Callable[[int], None] = lambda number: None,
    swallows: tuple[bool, ...] = (),
) -> Dialogue[Endpoint]:
    """Ask the last hop for ``command``, through all before it; return the address of its reply.

    The dialogue runs on a connection to the first hop. CONNECT opens a tunnel to ``destination``; for RESOLVE
    and RESOLVE_PTR the address or name that was asked for is in the place of the address.

    ``pipelined``: for each hop, whether it may be sent all its messages at once; those for neighbours of this
    kind go out in one piece. ``swallows``: for each hop, whether it may lose the bytes right behind its
    request; these then wait for its answer. ``asking(number)`` is called when the answers of hop ``number``
    come next.

    Raises:
        SocksError: the message starts with the hop at which the error happened.
    """
    if pipelined:
        # Messages sent to a secured hop in advance would go out before there is TLS.
        pipelined = tuple(taken and not hop.is_secured for taken, hop in zip(pipelined, chain, strict=False))
    asks = [(v5.CONNECT, Endpoint(onward.host, onward.port)) for onward in chain[1:]]
    asks.append((command, destination))
    bound = _NOWHERE
    if not pipelined:
        number = 0
        try:
            for number, ask in enumerate(asks):
                asking(number)
                if chain[number].tls is not None:
                    yield Secure(chain[number])
                bound = yield from _request(chain[number], *ask)
        except SocksError as err:
            raise _located(err, chain, number, *asks[number]) from err.__cause__
        return bound
    said: list[list[bytes]] = []
    for number in range(len(chain)):
        if not said and any(pipelined[number : number + 1]):
            end = number + 1
            while is_joined(pipelined, swallows, end):
                end += 1
            said = [_say(chain, at, *asks[at]) for at in range(number, end)]
            burst = b"".join(b"".join(each) for each in said)
        else:
            burst = b""
        asking(number)
        bound = yield from _ask(chain, number, *asks[number], said.pop(0) if said else None, burst)
    return bound


def is_joined(pipelined: tuple[bool, ...], swallows: tuple[bool, ...], number: int) -> bool:
    """Whether the messages for hop ``number`` go out in one piece with those for the hop before it."""
    return (
        all(pipelined[number - 1 : number + 1])
        and 0 < number < len(pipelined)
        and not any(swallows[number - 1 : number])
    )


def peer_of_bind(chain: tuple[Proxy, ...]) -> Dialogue[Endpoint]:
    """Read the last hop's second reply to BIND, when the peer has connected; return the peer.

    Raises:
        SocksError: no peer will come; the message starts with the hop.
    """
    try:
        if chain[-1].scheme in ("socks5", "socks5h"):
            return (yield from v5.read_reply())
        from pywrap.socks import v4

        return (yield from v4.read_reply())
    except SocksError as err:
        is_late = isinstance(err, Rejected) and err.code == v5.TTL_EXPIRED
        why = "no peer came in time" if is_late else str(err)
        words = f"{hop_label(chain, len(chain) - 1)}: {why} (listening, by BIND)"
        raise err.copy(words) from err.__cause__


def is_one_message(hop: Proxy) -> bool:
    """Whether the protocol of ``hop`` has a single message and a single answer."""
    return hop.scheme not in ("socks5", "socks5h")


def hop_label(chain: tuple[Proxy, ...], number: int) -> str:
    """How messages name a hop: by its address, and by its place where there are several."""
    place = f"hop {number + 1} of {len(chain)}, " if len(chain) > 1 else ""
    return f"{place}proxy {chain[number]}"


def _say(chain: tuple[Proxy, ...], number: int, command: int, destination: Endpoint) -> list[bytes]:
    from pywrap.tunnel.pipelining import rehearse

    hop = chain[number]
    try:
        return rehearse(_request(hop, command, destination, single_method=True), _granting_reply(hop))
    except SocksError as err:
        raise _located(err, chain, number, command, destination) from err.__cause__


def _ask(
    chain: tuple[Proxy, ...],
    number: int,
    command: int,
    destination: Endpoint,
    said: list[bytes] | None,
    burst: bytes,
) -> Dialogue[Endpoint]:
    try:
        if chain[number].tls is not None:
            yield Secure(chain[number])
        dialogue = _request(chain[number], command, destination, single_method=said is not None)
        if said is not None:
            from pywrap.tunnel.pipelining import replay

            dialogue = replay(dialogue, said, burst)
        return (yield from dialogue)
    except SocksError as err:
        raise _located(err, chain, number, command, destination) from err.__cause__


def _located(
    err: SocksError, chain: tuple[Proxy, ...], number: int, command: int, destination: Endpoint
) -> SocksError:
    """``err`` with the hop where it happened, the request to that hop, and the hop that is to blame."""
    hop = chain[number]
    stage = err.stage
    if is_one_message(hop) and isinstance(err, (ProtocolError, ProxyClosed, ProxyTimeout)):
        stage = UNHEARD
    if destination is ITSELF:
        asked = "asked whether it is alive"
    else:
        asked = _ASKED.get(command, "asked for an impossible command").format(destination)
    refused_type = isinstance(err, Rejected) and err.code == v5.ADDRESS_TYPE_NOT_SUPPORTED
    if refused_type and command == v5.CONNECT and number + 1 == len(chain):
        asked = f"{asked}; {_other_address(destination)}"
    if stage == UNHEARD and number > 0:
        # shadowsocks, trojan, stunnel, `ssh -D` and others grant before they connect.
        asked += f"; or {hop_label(chain, number - 1)}, granted a connection to it that it does not have"
    words = f"{hop_label(chain, number)}: {err} ({asked})"
    return err.copy(words, stage=stage, failure=_failure(err, chain, number))


def _failure(err: SocksError, chain: tuple[Proxy, ...], number: int) -> Failure:
    """Which hop is to blame for ``err``; hop ``number`` gave the answer, or was to give it."""
    hop = chain[number]
    onward = chain[number + 1] if number + 1 < len(chain) else None
    authenticated = err.stage == AUTHENTICATED
    asked_at_last = authenticated or is_one_message(hop)
    if isinstance(err, Unencodable):
        return Failure(hop)
    if isinstance(err, Rejected):
        return Failure(hop, onward)
    if isinstance(err, ProxyClosed) and asked_at_last:
        return Failure(hop, onward, certain=False)
    if isinstance(err, ProxyTimeout) and asked_at_last:
        # A hop that has answered nothing may itself be the silent one. But at the last hop it is far more
        # often the destination that is silent.
        return Failure(hop, onward if authenticated or onward is None else hop)
    # The end of any hop is seen as a hang-up by the last that was reached.
    return Failure(hop, hop, certain=not (isinstance(err, ProxyClosed) and number > 0))


def _other_address(destination: Endpoint) -> str:
    """A hint for users: what may help where a proxy does not support the address type of ``destination``."""
    address = packed(destination.host)
    if address is None:
        # Imported here, since few connections need it.
        from pywrap.tunnel.lookups import has_addresses

        if not has_addresses(destination.host):
            return "a name that has no address: only Tor reaches it"
        # I2P's reply for a host outside of I2P, if it has no outproxy.
        return (
            "`--dns tcp://HOST` or `--dns local` give it addresses instead of names; "
            "i2pd says so of names that are not below .i2p"
        )
    return f"an IPv{4 if len(address) == 4 else 6} address: `--dns remote` gives it names instead"


def _request(
    hop: Proxy, command: int, destination: Endpoint, single_method: bool = False
) -> Dialogue[Endpoint]:
    if hop.is_secured and command == v5.UDP_ASSOCIATE:
        raise Unencodable("datagrams would not be secured, as the connection is", errno.EOPNOTSUPP)
    if hop.kerberos is not None:
        from pywrap.socks import kerberized

        return kerberized.request(hop, command, destination)
    if not is_one_message(hop):
        return v5.request(command, destination, hop.username, hop.password, single_method)
    if hop.scheme in ("http", "raw") and command != v5.CONNECT:
        kind = "HTTP CONNECT" if hop.scheme == "http" else "a raw hop"
        raise Unencodable(f"{kind} has no {_COMMANDS[command]}", errno.EOPNOTSUPP)
    # The other protocols are imported when a chain has them: SOCKS5 is by far the most common.
    if hop.scheme == "http":
        from pywrap.socks import http

        return http.connect(destination, hop.username, hop.password)
    if hop.scheme == "raw":
        return _nothing()
    if command in _NOT_OF_SOCKS4:
        raise Unencodable(f"SOCKS4 has no {_COMMANDS[command]}", errno.EOPNOTSUPP)
    if hop.scheme not in ("socks4", "socks4a"):
        raise Unencodable(f"no tunnel through `{hop.scheme}` proxies yet", errno.EOPNOTSUPP)
    from pywrap.socks import v4

    return v4.request(command, destination, hop.username, names=hop.scheme == "socks4a")


def _nothing() -> Dialogue[Endpoint]:
    """No messages: a raw hop forwards to a fixed destination, by its own configuration."""
    yield from ()
    return _NOWHERE


def _granting_reply(hop: Proxy) -> bytes:
    if not is_one_message(hop):
        return v5.granting_reply(hop.username)
    from pywrap.socks import http, v4

    return http.granting_reply() if hop.scheme == "http" else v4.granting_reply()
