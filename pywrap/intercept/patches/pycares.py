"""pycares' Channel, and so aiodns: c-ares asks name servers from sockets of its own.

A class derived from Channel takes its place. It makes its look-ups by the functions of ``socket``, each in a
thread: getaddrinfo(), getnameinfo(), gethostbyaddr(), and queries for A, AAAA and PTR. Other queries fail at
once (ARES_ENOTIMP). The derived class makes no channel in C, so methods that are not replaced here raise
RuntimeError.
"""

from __future__ import annotations

import _socket
from _socket import EAI_AGAIN, EAI_NODATA, EAI_NONAME, gaierror, herror

from pywrap.intercept import originals
from pywrap.socks import dns
from pywrap.socks.wire import packed, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from pywrap.intercept.patching import Patches
    from pywrap.intercept.runtime import Runtime

    # Called with the result and None, or with None and one of ``pycares.errno``.
    Callback: TypeAlias = Callable[[Any, Any], None]

# The time to live, in seconds, of answers for which none is known.
TTL = 60


def install(patches: Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Replace ``Channel`` in ``module``, which is pycares. ``current()``: the runtime, or None."""
    patches.replace(module, "Channel", channel_class(module, current))


def channel_class(module: Any, current: Callable[[], Runtime | None]) -> Any:
    """The class that takes the place of ``module.Channel``."""
    codes = module.errno

    class Channel(module.Channel):  # type: ignore[misc]
        def __init__(self, *, servers: Any = None, sock_state_cb: Any = None, **_: Any) -> None:
            self._channel = None
            self._is_closed = False
            self._callbacks: dict[object, Callback] = {}
            if sock_state_cb is not None:
                raise module.AresError(codes.ARES_ENOTIMP, "pysocksify: a Channel has no sockets here")
            self._servers = [str(server) for server in servers or ("127.0.0.1:53",)]

        def __del__(self) -> None:
            pass

        # ---------------------------------------------------- look-ups

        def getaddrinfo(
            self,
            host: str,
            port: Any,
            *,
            family: int = 0,
            type: int = 0,
            proto: int = 0,
            flags: int = 0,
            callback: Callback,
        ) -> None:
            def look_up(runtime: Runtime) -> Any:
                rows = _rows(runtime, host, port, family, type or _socket.SOCK_STREAM)
                return module.AddrInfoResult(
                    cnames=[],
                    nodes=[
                        module.AddrInfoNode(
                            ttl=TTL,
                            flags=flags,
                            family=row[0],
                            socktype=type,
                            protocol=proto,
                            addr=(row[4][0].encode("ascii"), *row[4][1:]),
                        )
                        for row in rows
                    ],
                )

            self._start(look_up, callback)

        def getnameinfo(self, address: Any, flags: int, *, callback: Callback) -> None:
            wanted = _name_flags(flags)

            def look_up(runtime: Runtime) -> Any:
                node, service = runtime.functions["getnameinfo"](tuple(address), wanted)
                return module.NameInfoResult(node=node, service=service)

            self._start(look_up, callback)

        def gethostbyaddr(self, addr: Any, *, callback: Callback) -> None:
            literal = _text(addr)
            if packed(literal) is None:
                raise ValueError("invalid IP address")

            def look_up(runtime: Runtime) -> Any:
                name, aliases, addresses = runtime.functions["gethostbyaddr"](literal)
                return module.HostResult(name=name, aliases=aliases, addresses=addresses)

            self._start(look_up, callback)

        def query(self, name: Any, query_type: int, *, query_class: int = 1, callback: Callback) -> None:
            if query_type not in self.__qtypes__:
                raise ValueError("invalid query type specified")
            if query_class not in self.__qclasses__:
                raise ValueError("invalid query class specified")
            self._start(
                lambda runtime: self._records(runtime, _text(name), query_type, query_class), callback
            )

        search = query

        def _records(self, runtime: Runtime, name: str, kind: int, in_class: int) -> Any:
            address = dns.reversed_address(name) if kind == dns.PTR else None
            if in_class != 1 or kind not in (dns.A, dns.AAAA, dns.PTR) or (kind == dns.PTR and not address):
                runtime.messages.say(
                    1, f"refused: a query of pycares for records of {name} other than addresses"
                )
                raise gaierror(_NOT_IMPLEMENTED, "not implemented")
            if address is not None:
                found = runtime.functions["gethostbyaddr"](unpacked(address))
                data = [module.PTRRecordData(dname=each) for each in (found[0], *found[1])]
            else:
                family, of = (
                    (_socket.AF_INET6, module.AAAARecordData)
                    if kind == dns.AAAA
                    else (_socket.AF_INET, module.ARecordData)
                )
                rows = _rows(runtime, name, None, family, _socket.SOCK_STREAM)
                data = [of(addr=row[4][0]) for row in rows]
            answer = [
                module.DNSRecord(name=name, type=kind, record_class=1, ttl=TTL, data=each) for each in data
            ]
            return module.DNSResult(answer=answer, authority=[], additional=[])

        # ---------------------------------------------------- threads

        def _start(self, look_up: Callable[[Runtime], Any], callback: Callback) -> None:
            if not callable(callback):
                raise TypeError("a callable is required")
            if self._is_closed:
                raise RuntimeError("Channel is destroyed, no new queries allowed")
            runtime = current()
            if runtime is None:
                raise RuntimeError("this Channel was made before pywrap.uninstall()")
            token = object()
            self._callbacks[token] = callback
            originals.start_new_thread(self._run, (token, look_up, runtime))

        def _run(self, token: object, look_up: Callable[[Runtime], Any], runtime: Runtime) -> None:
            result, error = None, None
            try:
                result = look_up(runtime)
            except (gaierror, herror) as err:
                error = getattr(codes, _CODES.get(err.errno or 0, "ARES_ESERVFAIL"))
            except (OSError, UnicodeError, ValueError):
                error = codes.ARES_EBADNAME
            # None: the look-up was cancelled.
            callback = self._callbacks.pop(token, None)
            if callback is not None:
                callback(result, error)

        def cancel(self) -> None:
            while self._callbacks:
                self._callbacks.popitem()[1](None, codes.ARES_ECANCELLED)

        def close(self) -> None:
            self._is_closed = True
            self.cancel()

        # ---------------------------------------------------- what there is no channel for

        @property
        def servers(self) -> list[str]:
            return list(self._servers)

        @servers.setter
        def servers(self, servers: Any) -> None:
            self._servers = [_text(server) for server in servers]

        def timeout(self, t: Any = None) -> float:
            return 0.0

        def reinit(self) -> None:
            pass

        def set_local_ip(self, ip: Any) -> None:
            pass

        def set_local_dev(self, dev: Any) -> None:
            pass

    Channel.__qualname__ = "Channel"
    Channel.__module__ = module.__name__
    return Channel


def _rows(runtime: Runtime, host: Any, port: Any, family: int, kind: int) -> list[Any]:
    """Rows as of getaddrinfo(), one for each address."""
    rows: list[Any] = runtime.functions["getaddrinfo"](_text(host), port, family, kind)
    return rows


def _text(host: Any) -> str:
    return host.decode("ascii") if isinstance(host, bytes) else str(host)


# ARES_NI_NUMERICHOST and so on, of which only these mean something to getnameinfo(3).
_NAME_FLAGS = (
    (1 << 0, _socket.NI_NOFQDN),
    (1 << 1, _socket.NI_NUMERICHOST),
    (1 << 2, _socket.NI_NAMEREQD),
    (1 << 3, _socket.NI_NUMERICSERV),
    (1 << 4, _socket.NI_DGRAM),
)


def _name_flags(flags: int) -> int:
    return sum(new for old, new in _NAME_FLAGS if flags & old)


# A number for ARES_ENOTIMP in the table below, beside the errors of getaddrinfo(3), which are negative.
_NOT_IMPLEMENTED = 1000

_CODES = {
    EAI_NONAME: "ARES_ENOTFOUND",
    EAI_NODATA: "ARES_ENODATA",
    EAI_AGAIN: "ARES_ETIMEOUT",
    1: "ARES_ENOTFOUND",  # HOST_NOT_FOUND of gethostbyaddr()
    _NOT_IMPLEMENTED: "ARES_ENOTIMP",
}
