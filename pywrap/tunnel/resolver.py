"""Names and addresses that somebody beyond the chain is asked for, and not the local resolver.

``Resolver`` is what the patches see: it remembers answers, and tells a failure as getaddrinfo(3) does. Whom
to ask is one of two things behind it: ``Tor``, which is the last proxy, by RESOLVE and RESOLVE_PTR; or a
``NameServer``, by DNS over TCP.

Names are asked for as they are: the search list of resolv.conf is another network's. Names below .onion are
not, since nobody has addresses for them (RFC 7686).
"""

from __future__ import annotations

import errno
from _socket import EAI_AGAIN, EAI_FAIL, EAI_MEMORY, EAI_NODATA, EAI_NONAME, gaierror, herror
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeAlias

    from pywrap.socks.wire import Dialogue

    # Has a conversation from its beginning to its end, through the chain of the name or address that it is
    # about: that, destination, command, and what is said to the destination. The result is the address of the
    # last reply.
    Converse: TypeAlias = Callable[[str, Endpoint, int, Callable[[], Dialogue[None]] | None], Endpoint]

    class Source(Protocol):
        """Whom to ask. ``ipv6`` is the family, None for both."""

        def addresses(self, name: str, ipv6: bool | None) -> Found: ...
        def names(self, address: bytes) -> Found: ...


# Answers to remember, and for how many seconds at most. Tor does not tell: its own time is a minute at least.
MOST = 4096
LONGEST = 3600
OF_TOR = 60

# As the C library words them, with the errors of gethostbyaddr().
_WORDS = {
    EAI_NONAME: "Name or service not known",
    EAI_NODATA: "No address associated with hostname",
    EAI_AGAIN: "Temporary failure in name resolution",
    EAI_FAIL: "Non-recoverable failure in name resolution",
    EAI_MEMORY: "Memory allocation failure",
}
_UNKNOWN_HOST = (1, "Unknown host")
_OF_HOSTS = {EAI_AGAIN: (2, "Host name lookup failure"), EAI_FAIL: (3, "Unknown server error")}

_RCODES = {1: "FORMERR", 2: "SERVFAIL", 4: "NOTIMP", 5: "REFUSED"}


class LookupFailed(SocksError):
    """``errno`` is an error of getaddrinfo(3), whose name begins with EAI."""

    @property
    def is_final(self) -> bool:
        """Has it been said that there is nothing?"""
        return self.errno in (EAI_NONAME, EAI_NODATA)

    def as_gaierror(self) -> gaierror:
        """What getaddrinfo() raises."""
        words = _WORDS[self.errno]
        return gaierror(self.errno, words if self.is_final else f"{words} ({self})")

    def as_herror(self) -> herror:
        """What gethostbyaddr() raises for an address."""
        return herror(*_OF_HOSTS.get(self.errno, _UNKNOWN_HOST))


@frozen
class Found:
    """``values``: addresses as literals, IPv4 first, or names; ``canonical``: the name that has them.

    They may be remembered for so many ``seconds``.
    """

    values: tuple[str, ...]
    canonical: str
    seconds: float


class Resolver:
    """What ``source`` knows. Any thread may ask: each line about ``_known`` is one operation."""

    def __init__(self, source: Source, clock: Callable[[], float] = monotonic) -> None:
        self._source = source
        self._clock = clock
        self._known: dict[tuple[str | bytes, bool | None], tuple[float, Found]] = {}

    def addresses(self, name: str, ipv6: bool | None = None) -> Found:
        """The addresses of ``name``, of one family or of both (None).

        Raises:
            LookupFailed: there are none, or nobody tells.
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
            LookupFailed: it has none, or nobody tells.
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
                # Half of them at once, as a copy costs.
                for old in list(self._known)[: MOST // 2]:
                    self._known.pop(old, None)
        return found


def _error_of(err: SocksError) -> int:
    if isinstance(err, Unencodable) and err.errno == errno.EINVAL:
        # No name that anybody could have.
        return EAI_NONAME
    return EAI_FAIL if isinstance(err, (Unencodable, ProtocolError, AuthenticationFailed)) else EAI_AGAIN


class Tor:
    """The last proxy, which is Tor or has learned it from there.

    It tells one address, of the family that it likes best.
    """

    def __init__(self, converse: Converse) -> None:
        self._converse = converse

    def addresses(self, name: str, ipv6: bool | None) -> Found:
        """What RESOLVE answers, in whatever family it is."""
        host = self._ask(Endpoint(name, 0), v5.RESOLVE)
        if packed(host) is None:
            raise ProtocolError(f"the proxy resolved {name} to a name: {host!r}")
        return Found((host,), name, OF_TOR)

    def names(self, address: bytes) -> Found:
        """What RESOLVE_PTR answers."""
        literal = unpacked(address)
        name = dns.checked_name(self._ask(Endpoint(literal, 0), v5.RESOLVE_PTR))
        if not name:
            raise LookupFailed(f"{literal} has no name", EAI_NONAME)
        return Found((name,), name, OF_TOR)

    def _ask(self, what: Endpoint, command: int) -> str:
        try:
            return self._converse(what.host, what, command, None).host
        except Rejected as err:
            if err.dead is not None:
                # Somebody on the way there.
                raise
            raise LookupFailed(str(err), _REFUSALS.get(err.code, EAI_FAIL)) from err


# Tor says of every name that it does not find: host unreachable. SOCKS4 has one word for everything.
_REFUSALS = {v5.HOST_UNREACHABLE: EAI_NONAME, v4.REJECTED: EAI_NONAME, v5.TTL_EXPIRED: EAI_AGAIN}


class NameServer:
    """The name server at ``server``, which the last proxy connects to, anew for each question.

    The last one of the chain that the name belongs to: others may know other names there.
    """

    def __init__(self, server: Endpoint, converse: Converse) -> None:
        self._server = server
        self._converse = converse

    def addresses(self, name: str, ipv6: bool | None) -> Found:
        """The A and AAAA records, asked for at once."""
        kinds = (dns.A, dns.AAAA) if ipv6 is None else (dns.AAAA,) if ipv6 else (dns.A,)
        return self._found(name, self._ask(name, name, kinds))

    def names(self, address: bytes) -> Found:
        """The PTR records."""
        literal = unpacked(address)
        return self._found(literal, self._ask(literal, dns.reverse_name(address), (dns.PTR,)))

    def _ask(self, about: str, name: str, kinds: tuple[int, ...]) -> list[dns.Answer]:
        answers: list[dns.Answer] = []

        def talk() -> Dialogue[None]:
            try:
                answers.extend((yield from dns.ask(name, kinds)))
            except SocksError as err:
                said = "hung up" if isinstance(err, ProxyClosed) else err
                err.args = (f"name server {self._server}: {said} (asked for {name})",)
                raise

        self._converse(about, self._server, v5.CONNECT, talk)
        return answers

    def _found(self, what: str, answers: list[dns.Answer]) -> Found:
        good = [answer for answer in answers if answer.values]
        codes = [answer.code for answer in answers]
        failures = [code for code in codes if code not in (dns.NO_ERROR, dns.NAME_ERROR)]
        if good:
            # One family may have failed alone: another time it may be there.
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
    """What ``Settings.dns`` asks for; None where names are left to the last proxy, or resolved here."""
    if setting == "tor":
        return Resolver(Tor(converse))
    if not setting.startswith("tcp://"):
        return None
    host, _, port = setting.removeprefix("tcp://").rpartition(":")
    return Resolver(NameServer(Endpoint(host.strip("[]"), int(port)), converse))


def has_addresses(name: str) -> bool:
    """May anybody have addresses for ``name``?"""
    return not name.lower().rstrip(".").endswith(".onion")


def is_host_name(name: str) -> bool:
    """Could ``name`` be a host's (RFC 952, with the underscores that there are)?"""
    return not name.encode("utf-8", "replace").translate(None, _OF_NAMES)


_OF_NAMES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
