"""Look-ups of names and addresses through the chain, instead of by the local resolver.

``Resolver`` is what the patches use: it remembers answers, and reports failures with the errors of
getaddrinfo(3). It has one of two sources: ``Tor``, the last proxy, by its commands RESOLVE and RESOLVE_PTR;
or ``NameServer``, by DNS over TCP.

Names are asked for as they are: the search list of resolv.conf belongs to the local network. Names below
.onion are not asked for, since they have no addresses (RFC 7686).
"""

from __future__ import annotations

import errno
from _socket import EAI_AGAIN, EAI_FAIL, EAI_NODATA, EAI_NONAME
from time import monotonic

from pywrap.errors import (
    AuthenticationFailed,
    ProtocolError,
    ProxyClosed,
    Rejected,
    SocksError,
    Unencodable,
)
from pywrap.frozen import frozen, replace
from pywrap.socks import dns, v4, v5
from pywrap.socks.wire import Endpoint, packed, unpacked
from pywrap.tunnel.lookups import LookupFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeAlias

    from pywrap.socks.wire import Dialogue

    # A function that runs a whole conversation. Its arguments: the name or address to look up, which chooses
    # the chain; the destination; the SOCKS command; the dialogue with the destination, or None. It returns
    # the address in the last hop's reply.
    Converse: TypeAlias = Callable[[str, Endpoint, int, Callable[[], Dialogue[None]] | None], Endpoint]

    class Source(Protocol):
        """A proxy or name server that answers look-ups. ``ipv6``: True: IPv6, False: IPv4, None: both."""

        def addresses(self, name: str, ipv6: bool | None) -> Found: ...
        def names(self, address: bytes) -> Found: ...


# How many answers to remember, and for how many seconds at most. Tor sends no time to live; it keeps its own
# answers for a minute at least.
MOST = 4096
LONGEST = 3600
OF_TOR = 60

_RCODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


@frozen
class Found:
    """The answer to a look-up.

    ``values``: addresses as literals, IPv4 first, or names. ``canonical``: the name that has these addresses,
    after aliases. ``seconds``: how long the answer may be remembered.
    """

    values: tuple[str, ...]
    canonical: str
    seconds: float


class Resolver:
    """Asks ``source``, and remembers the answers. ``clock``: monotonic seconds.

    No lock: each access to ``_known`` is a single dictionary operation.
    """

    def __init__(self, source: Source, clock: Callable[[], float] = monotonic) -> None:
        self._source = source
        self._clock = clock
        self._known: dict[tuple[str | bytes, bool | None], tuple[float, Found]] = {}

    def addresses(self, name: str, ipv6: bool | None = None) -> Found:
        """The addresses of ``name``: IPv6 if ``ipv6``, IPv4 if False, both if None.

        Raises:
            LookupFailed: the name has none (``is_final``), or the source does not answer.
        """
        name = name.lower().removesuffix(".")
        found = self._remembered(name, None) or self._remembered(name, ipv6)
        if found is None:
            found = self._ask(name, ipv6, lambda: self._source.addresses(name, ipv6))
        values = tuple(value for value in found.values if ipv6 is None or (":" in value) == ipv6)
        if not values:
            raise LookupFailed(f"{name} has no address of this family", EAI_NODATA)
        return replace(found, values=values)

    def names(self, address: bytes) -> Found:
        """The names of a 4- or 16-byte ``address``.

        Raises:
            LookupFailed: the address has none (``is_final``), or the source does not answer.
        """
        return self._remembered(address, None) or self._ask(
            address, None, lambda: self._source.names(address)
        )

    def _remembered(self, what: str | bytes, ipv6: bool | None) -> Found | None:
        until, found = self._known.get((what, ipv6), (0.0, None))
        return found if until > self._clock() else None

    def _ask(self, what: str | bytes, ipv6: bool | None, ask: Callable[[], Found]) -> Found:
        try:
            found = ask()
        except LookupFailed:
            raise
        except SocksError as err:
            raise LookupFailed(str(err), _error_of(err)) from err
        except OSError as err:
            # No descriptor is left.
            raise LookupFailed(str(err), EAI_AGAIN) from err
        if found.seconds > 0:
            self._known[what, ipv6] = self._clock() + min(found.seconds, LONGEST), found
            if len(self._known) > MOST:
                # Half of them at once: making the list for each new answer would be slow.
                for old in list(self._known)[: MOST // 2]:
                    self._known.pop(old, None)
        return found


def _error_of(err: SocksError) -> int:
    if isinstance(err, Unencodable) and err.errno == errno.EINVAL:
        # No host can have this name.
        return EAI_NONAME
    return EAI_FAIL if isinstance(err, (Unencodable, ProtocolError, AuthenticationFailed)) else EAI_AGAIN


class Tor:
    """The last proxy, by RESOLVE and RESOLVE_PTR: Tor, or another proxy that has these commands.

    It returns one address, of the family that it prefers. Source: Tor's socks-extensions.txt.
    """

    def __init__(self, converse: Converse) -> None:
        self._converse = converse

    def addresses(self, name: str, ipv6: bool | None) -> Found:
        """The answer to RESOLVE, of whatever family it is.

        Raises:
            LookupFailed, SocksError: the proxy refuses, or a hop fails.
        """
        host = self._ask(Endpoint(name, 0), v5.RESOLVE)
        if packed(host) is None:
            raise ProtocolError(f"the proxy resolved {name} to a name: {host!r}")
        return Found((host,), name, OF_TOR)

    def names(self, address: bytes) -> Found:
        """The answer to RESOLVE_PTR.

        Raises:
            LookupFailed, SocksError: there is no name, the proxy refuses, or a hop fails.
        """
        literal = unpacked(address)
        name = dns.checked_name(self._ask(Endpoint(literal, 0), v5.RESOLVE_PTR))
        if not name:
            raise LookupFailed(f"{literal} has no name", EAI_NONAME)
        return Found((name,), name, OF_TOR)

    def _ask(self, what: Endpoint, command: int) -> str:
        try:
            return self._converse(what.host, what, command, None).host
        except Rejected as err:
            if err.failure.blamed is not None:
                # A hop failed: it was not the last proxy that refused.
                raise
            raise LookupFailed(str(err), _REFUSALS.get(err.code, EAI_FAIL)) from err


# Tor answers "host unreachable" for every name that it does not find. SOCKS4 has one code for all refusals.
_REFUSALS = {v5.HOST_UNREACHABLE: EAI_NONAME, v4.REJECTED: EAI_NONAME, v5.TTL_EXPIRED: EAI_AGAIN}


class NameServer:
    """The name server at ``server``, through the chain that the name belongs to.

    Each question has a connection of its own. Through another chain, the server at the same address may be
    another one and know other names.
    """

    def __init__(self, server: Endpoint, converse: Converse) -> None:
        self._server = server
        self._converse = converse

    def addresses(self, name: str, ipv6: bool | None) -> Found:
        """The A and AAAA records, asked for at once (RFC 1035, RFC 3596).

        Raises:
            LookupFailed, SocksError: there are none, or the server or a hop fails.
        """
        kinds = (dns.A, dns.AAAA) if ipv6 is None else (dns.AAAA,) if ipv6 else (dns.A,)
        return self._found(name, self._ask(name, name, kinds))

    def names(self, address: bytes) -> Found:
        """The PTR records (RFC 1035 section 3.5).

        Raises:
            LookupFailed, SocksError: there are none, or the server or a hop fails.
        """
        literal = unpacked(address)
        return self._found(literal, self._ask(literal, dns.reverse_name(address), (dns.PTR,)))

    def _ask(self, about: str, name: str, kinds: tuple[int, ...]) -> list[dns.Answer]:
        answers: list[dns.Answer] = []

        def talk() -> Dialogue[None]:
            try:
                answers.extend((yield from dns.ask(name, kinds)))
            except SocksError as err:
                said = "hung up" if isinstance(err, ProxyClosed) else err
                why = f"name server {self._server}: {said} (asked for {name})"
                raise err.copy(why) from err.__cause__

        self._converse(about, self._server, v5.CONNECT, talk)
        return answers

    def _found(self, what: str, answers: list[dns.Answer]) -> Found:
        good = [answer for answer in answers if answer.values]
        codes = [answer.code for answer in answers]
        failures = [code for code in codes if code not in (dns.NO_ERROR, dns.NAME_ERROR)]
        if good:
            # If the question for one family has failed, nothing is remembered: it may succeed later.
            seconds = 0 if failures else min(answer.seconds for answer in good)
            values = tuple(value for answer in good for value in answer.values)
            return Found(values, good[0].canonical, seconds)
        if dns.NAME_ERROR in codes:
            raise LookupFailed(f"name server {self._server}: {what} does not exist", EAI_NONAME)
        if not failures:
            raise LookupFailed(f"name server {self._server}: nothing about {what}", EAI_NODATA)
        said = _RCODES.get(failures[0], f"RCODE {failures[0]}")
        again = failures[0] == dns.SERVER_FAILURE
        raise LookupFailed(
            f"name server {self._server}: {said} (asked for {what})", EAI_AGAIN if again else EAI_FAIL
        )


def lookup(setting: str, converse: Converse) -> Resolver | None:
    """The resolver for ``setting``, a value of ``Settings.dns``; None for "remote" and "local".

    ``converse``: see ``Converse``.
    """
    if setting == "tor":
        return Resolver(Tor(converse))
    server = name_server(setting)
    return None if server is None else Resolver(NameServer(server, converse))


def name_server(setting: str) -> Endpoint | None:
    """The name server in ``setting``, a value of ``Settings.dns``; None where it names none."""
    if not setting.startswith("tcp://"):
        return None
    host, _, port = setting.removeprefix("tcp://").rpartition(":")
    return Endpoint(host.strip("[]"), int(port))
