"""getaddrinfo(), gethostbyname(), gethostbyname_ex(), gethostbyaddr(), getnameinfo(); and so getfqdn().

None of them asks the local resolver for a name that is for the proxies. A name is answered by the first of
these that applies:

1. a literal: by the C library, which sends no query for it;
2. a name of /etc/hosts, localhost, this machine's own: from there (the C library would ask a name server for
the
   other address family);
3. a direct name, or a first hop's: by the local resolver;
4. with ``dns tor`` and ``dns tcp://``: by a look-up through the chain (``remote_names``), IPv4 first. Not
names
   that are blocked, nor those below .onion;
5. any other name: by a placeholder (``tunnel.placeholders``), an IPv6 one only when IPv4 is not accepted, so
that
   happy eyeballs (RFC 8305) does not connect twice.

The name of an address comes from 2 or 5, or from 4 if a connection to the address would go through a chain.
The caller waits for that, as it would in the C library: event loops have threads for it.

With ``dns local`` the interpreter's own functions answer; where there are rules by name, the addresses of
each name are noted, so that the rules apply to these addresses.
"""

from __future__ import annotations

import _socket

from pywrap.intercept import originals
from pywrap.intercept.addresses import host_text
from pywrap.socks.wire import unmapped
from pywrap.tunnel.lookups import LookupFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.call_recorder import Recorder
    from pywrap.intercept.runtime import Runtime
    from pywrap.log.events import Begun

FAMILY = ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo")

NAME_UNKNOWN = "Name or service not known"

# RFC 8200 section 3: 20 bits.
_LARGEST_FLOWINFO = 0xFFFFF


def functions(runtime: Runtime) -> dict[str, Callable[..., Any]]:
    """The functions that look names up, under ``runtime``, by their names."""
    found = {name: getattr(originals, name) for name in FAMILY}
    lookups: RemoteLookups | LocalLookups
    if runtime.settings.dns != "local":
        lookups = RemoteLookups(runtime)
    elif runtime.routes.by_name or runtime.log is not None:
        lookups = LocalLookups(runtime)
    else:
        return found
    return {name: getattr(lookups, name, function) for name, function in found.items()}


class RemoteLookups:
    """All of the functions, for settings other than ``dns local``."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """getaddrinfo(host, port[, family, type, proto, flags]) -> list of 5-tuples."""
        name = host_text(host)
        if not name or self._runtime.is_literal(name):
            return _row_of_stream(name, port, family, type, proto, flags) or originals.getaddrinfo(
                host, port, family, type, proto, flags
            )
        try:
            if flags & _socket.AI_NUMERICHOST:
                raise _socket.gaierror(_socket.EAI_NONAME, NAME_UNKNOWN)
            literals, canonical = _look_up(self._runtime, name, family, flags)
        except _socket.gaierror:
            # glibc checks the other arguments first. It is given one literal: several addresses it would sort
            # by a connect() to each.
            any_literal = "::1" if family == _socket.AF_INET6 else "127.0.0.1"
            originals.getaddrinfo(any_literal, port, family, type, proto, flags | _socket.AI_NUMERICHOST)
            raise
        numeric = (flags | _socket.AI_NUMERICHOST) & ~(_socket.AI_CANONNAME | _socket.AI_ADDRCONFIG)
        rows = [
            row
            for literal in literals
            for row in _row_of_stream(literal, port, family, type, proto, flags)
            or originals.getaddrinfo(literal, port, family, type, proto, numeric)
        ]
        if flags & _socket.AI_CANONNAME:
            first = rows[0]
            rows[0] = (*first[:3], canonical, first[4])
        return rows

    def gethostbyname(self, hostname: Any, /) -> str:
        """gethostbyname(host) -> address."""
        name = host_text(hostname)
        if name is None or self._runtime.is_literal(name):
            return originals.gethostbyname(hostname)
        return _look_up(self._runtime, name, _socket.AF_INET)[0][0]

    def gethostbyname_ex(self, hostname: Any, /) -> tuple[str, list[str], list[str]]:
        """gethostbyname_ex(host) -> (name, aliaslist, addresslist)."""
        name = host_text(hostname)
        if name is None or self._runtime.is_literal(name):
            return originals.gethostbyname_ex(hostname)
        literals, canonical = _look_up(self._runtime, name, _socket.AF_INET)
        return canonical, [], literals

    def gethostbyaddr(self, ip_address: Any, /) -> tuple[str, list[str], list[str]]:
        """gethostbyaddr(host) -> (name, aliaslist, addresslist)."""
        host = host_text(ip_address)
        if host is None:
            return originals.gethostbyaddr(ip_address)
        if self._runtime.is_literal(host):
            literal, otherwise = host, []
        else:
            literals, canonical = _look_up(self._runtime, host, 0)
            literal, otherwise = literals[0], [canonical]
        try:
            names = _look_up_names(self._runtime, literal) or otherwise
        except LookupFailed as err:
            raise err.as_herror() from err
        if not names:
            raise _socket.herror(1, "Unknown host")
        return names[0], names[1:], [literal]

    def getnameinfo(self, sockaddr: Any, flags: int, /) -> tuple[str, str]:
        """getnameinfo(sockaddr, flags) -> (host, port)."""
        try:
            if _is_malformed(sockaddr, flags):
                return originals.getnameinfo(sockaddr, flags)
            if not self._runtime.is_literal(sockaddr[0]):
                raise _socket.gaierror(_socket.EAI_NONAME, NAME_UNKNOWN)
            host, port = _numeric(sockaddr, flags)
            if flags & ~_FLAGS:
                raise _socket.gaierror(_socket.EAI_BADFLAGS, "Bad value for ai_flags")
            names = [] if flags & _socket.NI_NUMERICHOST else _names(self._runtime, host)
            if not names and flags & _socket.NI_NAMEREQD:
                raise _socket.gaierror(_socket.EAI_NONAME, NAME_UNKNOWN)
            return (names or [host])[0], _service(port, flags)
        finally:
            # The traceback of an exception would keep the program's object alive by this frame; C's does not.
            del sockaddr


def _row_of_stream(
    host: str | None, port: Any, family: int, type: int, proto: int, flags: int
) -> list[tuple[int, int, int, str, tuple[str, int]]]:
    """The result of getaddrinfo(3) for an IPv4 literal and a numeric port, when a stream is asked for.

    [] for any other question. The C function takes ten times as long, most of it for the codec "idna".
    """
    is_plain = family in _FAMILIES and type == _socket.SOCK_STREAM and proto in _PROTOCOLS and not flags
    if not is_plain or port.__class__ is not int or not 0 <= port <= 0xFFFF or host is None:
        return []
    try:
        _socket.inet_pton(_socket.AF_INET, host)
    except (OSError, ValueError):
        return []
    return [(_socket.AF_INET, _socket.SOCK_STREAM, _socket.IPPROTO_TCP, "", (host, port))]


# Those of getnameinfo(3), up to NI_IDN_USE_STD3_ASCII_RULES.
_FLAGS = 0xFF
_FAMILIES = (_socket.AF_UNSPEC, _socket.AF_INET)
_PROTOCOLS = (0, _socket.IPPROTO_TCP)


def _is_malformed(sockaddr: Any, flags: Any) -> bool:
    """Whether C refuses the arguments before it looks at the host."""
    if not isinstance(sockaddr, tuple) or not isinstance(flags, int) or not 2 <= len(sockaddr) <= 4:
        return True
    host, *numbers = sockaddr
    if not isinstance(host, str) or not all(isinstance(number, int) for number in numbers):
        return True
    return len(sockaddr) > 2 and numbers[1] & 0xFFFFFFFF > _LARGEST_FLOWINFO


def _numeric(sockaddr: tuple[Any, ...], flags: int) -> tuple[str, int]:
    """The host as getnameinfo(3) writes it, with the scope that ``sockaddr`` has, and the port.

    getnameinfo() itself is not called: its audit event does not show the flags, so our audit hook would
    refuse it as a look-up.
    """
    kind = _socket.SOCK_DGRAM if flags & _socket.NI_DGRAM else _socket.SOCK_STREAM
    rows = originals.getaddrinfo(sockaddr[0], sockaddr[1], 0, kind, 0, _socket.AI_NUMERICHOST)
    family, *_, found = rows[0]
    host = str(found[0])
    if family == _socket.AF_INET:
        if len(sockaddr) != 2:
            raise OSError("IPv4 sockaddr must be 2 tuple")
        return host, int(found[1])
    # C takes the scope from the tuple alone, and not from the text.
    host = host.partition("%")[0]
    scope = sockaddr[3] & 0xFFFFFFFF if len(sockaddr) > 3 else 0
    return f"{host}%{_zone(host, scope)}" if scope else host, int(found[1])


def _zone(host: str, scope: int) -> str:
    """The name of the interface with the number ``scope``, or the number; only for link-local addresses."""
    first, second = _socket.inet_pton(_socket.AF_INET6, host)[:2]
    if (first == 0xFE and second & 0xC0 == 0x80) or (first == 0xFF and second & 0x0F == 2):
        try:
            return _socket.if_indextoname(scope)
        except (OSError, OverflowError):
            # There is no such interface: the number is the answer.
            pass
    return str(scope)


class LocalLookups:
    """With ``dns local``: the interpreter's own functions, whose answers are noted for the rules."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def getaddrinfo(
        self, host: Any, port: Any, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> list[Any]:
        """getaddrinfo(host, port[, family, type, proto, flags]) -> list of 5-tuples."""
        with _Asked(self._runtime, host) as asked:
            rows = originals.getaddrinfo(host, port, family, type, proto, flags)
            self._note(host, asked.found([str(row[4][0]) for row in rows]))
            return rows

    def gethostbyname(self, hostname: Any, /) -> str:
        """gethostbyname(host) -> address."""
        with _Asked(self._runtime, hostname) as asked:
            literal = originals.gethostbyname(hostname)
            self._note(hostname, asked.found([literal]))
            return literal

    def gethostbyname_ex(self, hostname: Any, /) -> tuple[str, list[str], list[str]]:
        """gethostbyname_ex(host) -> (name, aliaslist, addresslist)."""
        with _Asked(self._runtime, hostname) as asked:
            found = originals.gethostbyname_ex(hostname)
            self._note(hostname, asked.found(found[2]))
            return found

    def gethostbyaddr(self, ip_address: Any, /) -> tuple[str, list[str], list[str]]:
        """gethostbyaddr(host) -> (name, aliaslist, addresslist)."""
        host = host_text(ip_address)
        if self._runtime.log is None or host is None:
            return originals.gethostbyaddr(ip_address)
        with _AskedNames(self._runtime, host) as asked:
            found = originals.gethostbyaddr(ip_address)
            asked.found([found[0], *found[1]])
            return found

    def getnameinfo(self, sockaddr: Any, flags: int, /) -> tuple[str, str]:
        """getnameinfo(sockaddr, flags) -> (host, port)."""
        if self._runtime.log is None or _is_malformed(sockaddr, flags) or flags & _socket.NI_NUMERICHOST:
            return originals.getnameinfo(sockaddr, flags)
        with _AskedNames(self._runtime, sockaddr[0]) as asked:
            found = originals.getnameinfo(sockaddr, flags)
            # getnameinfo() returns the address itself where there is no name.
            asked.found([] if self._runtime.is_literal(found[0]) else [found[0]])
            return found

    def _note(self, host: Any, literals: list[str]) -> None:
        name = host_text(host)
        if name and not self._runtime.is_literal(name):
            self._runtime.routes.remember(name, literals)


class _Asked:
    """A context manager for one look-up of ``host``, which writes its line of the log at the end."""

    __slots__ = ("_answers", "_begun", "_host", "_runtime")

    def __init__(self, runtime: Runtime, host: Any) -> None:
        self._runtime = runtime
        self._host = host
        self._begun = runtime.begin()
        self._answers: list[str] = []

    def found(self, literals: list[str]) -> list[str]:
        """Note the answers, and return them."""
        self._answers = literals
        return literals

    def __enter__(self) -> _Asked:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        log = self._runtime.log
        if log is not None and self._begun is not None:
            self._note(log, self._begun, error)

    def _note(self, log: Recorder, begun: Begun, error: BaseException | None) -> None:
        name = host_text(self._host)
        if name and not self._runtime.is_literal(name):
            log.looked_up(begun, name, self._answers, error if isinstance(error, OSError) else None)


class _AskedNames(_Asked):
    """The same for the names of an address, ``host``."""

    __slots__ = ()

    def _note(self, log: Recorder, begun: Begun, error: BaseException | None) -> None:
        failure: OSError | None = None
        if isinstance(error, LookupFailed):
            failure = error.as_gaierror()
        elif isinstance(error, OSError):
            failure = error
        elif not self._answers:
            failure = _socket.gaierror(_socket.EAI_NONAME, NAME_UNKNOWN)
        log.looked_up_names_of(begun, self._host, self._answers, failure)


def _look_up(runtime: Runtime, name: str, family: int, flags: int = 0) -> tuple[list[str], str]:
    """Literals for ``name``, at least one, and its canonical name. ``flags`` as of getaddrinfo()."""
    if runtime.log is None:
        return _find(runtime, name, family, flags)
    with _Asked(runtime, name) as asked:
        literals, canonical = _find(runtime, name, family, flags)
        return asked.found(literals), canonical


def _find(runtime: Runtime, name: str, family: int, flags: int) -> tuple[list[str], str]:
    wanted = {_socket.AF_INET: False, _socket.AF_INET6: True}.get(family)
    version = runtime.hosts.version
    left = runtime.left_to_proxy.get((name, wanted))
    if left is not None and left[0] == version:
        return [left[1]], name
    known = runtime.routes.local_addresses(name)
    if known:
        literals = _of_family(known, wanted, flags)
        if not literals:
            raise _socket.gaierror(_socket.EAI_NONAME, NAME_UNKNOWN)
        runtime.routes.remember(name, literals, from_hosts=True)
        return literals, runtime.hosts.canonical(name)
    if runtime.routes.resolves_here(name):
        rows = originals.getaddrinfo(name, None, family, _socket.SOCK_STREAM, 0, _socket.AI_CANONNAME)
        literals = [str(row[4][0]) for row in rows]
        try:
            runtime.routes.learn_from_resolver(name, literals)
        except LookupFailed as err:
            raise err.as_gaierror() from err
        return literals, str(rows[0][3] or name)
    runtime.check_name(name)
    if runtime.remote_names.takes(name):
        try:
            found = runtime.remote_names.addresses(name, wanted)
        except LookupFailed as err:
            raise err.as_gaierror() from err
        return list(found.values), found.canonical
    runtime.messages.say(2, f"{name}: left to the last proxy")
    try:
        placeholder = runtime.names.placeholder(name, wanted)
        if runtime.messages.verbosity < 2:
            runtime.leave_to_proxy(name, wanted, version, placeholder)
        return [placeholder], name
    except LookupFailed as err:
        raise err.as_gaierror() from err


def _of_family(known: list[str], ipv6: bool | None, flags: int) -> list[str]:
    """The literals of ``known``, from /etc/hosts, that glibc returns for one family, or for both (None)."""
    if ipv6 is None:
        return known
    # As glibc reads the file when it looks for IPv4.
    four = [literal for literal in map(_as_ipv4, known) if ":" not in literal]
    if not ipv6:
        return four
    six = [literal for literal in known if ":" in literal]
    if flags & _socket.AI_V4MAPPED and (flags & _socket.AI_ALL or not six):
        return six + four
    return six


def _as_ipv4(literal: str) -> str:
    if literal == "::1":
        return "127.0.0.1"
    return unmapped(literal)


def _look_up_names(runtime: Runtime, literal: str) -> list[str]:
    """The names of an address, known here or asked for.

    Raises:
        LookupFailed: they could not be asked for.
    """
    if runtime.log is None:
        return runtime.names_of(literal) or runtime.remote_names.names(literal)
    with _AskedNames(runtime, literal) as asked:
        return asked.found(runtime.names_of(literal) or runtime.remote_names.names(literal))


def _names(runtime: Runtime, literal: str) -> list[str]:
    """The names of an address; [] where it has none, since the caller falls back on the address."""
    try:
        return _look_up_names(runtime, literal)
    except LookupFailed as err:
        if err.is_final:
            return []
        raise err.as_gaierror() from err


def _service(port: int, flags: int) -> str:
    if not flags & _socket.NI_NUMERICSERV:
        try:
            return _socket.getservbyport(port, "udp" if flags & _socket.NI_DGRAM else "tcp")
        except OSError:
            # No service has this number: the number is the answer.
            pass
    return str(port)
