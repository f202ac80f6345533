"""dnspython's resolvers, which ask the name servers of the local network: for pymongo's ``mongodb+srv``, say.

Those servers cannot be reached through the proxy, and must not learn the program's names. So a resolver that
has read /etc/resolv.conf gets one name server object of ours, which answers according to ``--dns``: addresses
as getaddrinfo() finds them, names of addresses as gethostbyaddr() does. Other records come from the server of
``--dns tcp://``; without one they are an error at once. A name server that the program itself names is a
destination like any other.
"""

from __future__ import annotations

import _socket
import errno
import sys
from _socket import EAI_NODATA, EAI_NONAME, gaierror, herror

from pywrap.errors import SocksError, to_oserror
from pywrap.socks.dns import reversed_address
from pywrap.socks.wire import unpacked
from pywrap.tunnel.resolver import name_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.intercept.patching import Patches
    from pywrap.intercept.runtime import Runtime

RESOLV_CONF = "/etc/resolv.conf"

# The time to live, in seconds, of answers for which none is known.
_TTL = 60


def install(patches: Patches, module: Any, current: Callable[[], Runtime | None]) -> None:
    """Patch the resolvers of ``module``, ``dns.resolver``. ``current()``: the runtime, or None."""
    # Before version 2.4, dnspython had no classes for name servers, only texts.
    servers: Any = sys.modules.get("dns.nameserver")
    if servers is None:
        raise ImportError("pysocksify needs dnspython 2.4 or later")
    read, ours = module.BaseResolver.read_resolv_conf, _name_server_class(servers, current)

    def read_resolv_conf(self: Any, f: Any) -> None:
        read(self, f)
        if f == RESOLV_CONF and current() is not None:
            self.nameservers = [ours(self.nameservers)]
            # No search list: that of resolv.conf belongs to the local network.
            self.domain, self.search = sys.modules["dns.name"].root, []

    patches.replace(module.BaseResolver, "read_resolv_conf", read_resolv_conf)


def _name_server_class(servers: Any, current: Callable[[], Runtime | None]) -> Any:
    class NameServer(servers.Do53Nameserver):  # type: ignore[misc]
        """``replaced``: the servers of resolv.conf; after ``uninstall`` the first of them is asked."""

        def __init__(self, replaced: Any) -> None:
            super().__init__(str(replaced[0]))

        def query(self, request: Any, timeout: float, *args: Any, **options: Any) -> Any:
            runtime = current()
            if runtime is None:
                return super().query(request, timeout, *args, **options)
            return _answer(runtime, request, timeout)

        async def async_query(
            self,
            request: Any,
            timeout: float,
            source: Any,
            source_port: int,
            max_size: bool,
            backend: Any,
            *args: Any,
            **options: Any,
        ) -> Any:
            runtime = current()
            if runtime is None:
                inherited = super().async_query
                return await inherited(
                    request, timeout, source, source_port, max_size, backend, *args, **options
                )
            if backend.name() == "trio":
                return await sys.modules["trio"].to_thread.run_sync(_answer, runtime, request, timeout)
            loop = sys.modules["asyncio"].get_running_loop()
            return await loop.run_in_executor(None, _answer, runtime, request, timeout)

    return NameServer


def _answer(runtime: Runtime, request: Any, timeout: float) -> Any:
    """The message that answers ``request``.

    Raises:
        OSError: there is no answer; dnspython gives up this name server, and reports the text.
    """
    message, kinds = sys.modules["dns.message"], sys.modules["dns.rdatatype"]
    (question,) = request.question
    name = question.name.to_text(omit_final_dot=True)
    kind = kinds.to_text(question.rdtype)
    try:
        if kind in ("A", "AAAA"):
            family = _socket.AF_INET if kind == "A" else _socket.AF_INET6
            rows = runtime.functions["getaddrinfo"](name, None, family, _socket.SOCK_STREAM)
            return _made(request, [row[4][0] for row in rows])
        address = reversed_address(name.lower()) if kind == "PTR" else None
        if address is not None:
            found = runtime.functions["gethostbyaddr"](unpacked(address))
            return _made(request, [f"{each}." for each in (found[0], *found[1])])
    except (gaierror, herror) as err:
        if err.errno == EAI_NODATA:
            return _made(request, [])
        if err.errno in (EAI_NONAME, 1):
            return _made(request, [], "NXDOMAIN")
        raise OSError(errno.EHOSTUNREACH, str(err)) from err
    if name_server(runtime.settings.dns) is None:
        why = f"{kind} records of {name} are nowhere to be asked for (--dns tcp://HOST)"
        runtime.messages.say(1, why)
        raise OSError(errno.EOPNOTSUPP, f"pysocksify: {why}")
    try:
        answer = runtime.ask_name_server(name, request.to_wire(), timeout)
    except SocksError as err:
        runtime.messages.say(1, f"{name}: {err}")
        raise to_oserror(err) from err
    response = message.from_wire(answer)
    if not request.is_response(response):
        raise OSError(errno.EPROTO, f"the name server of --dns answered another question than for {name}")
    return response


def _made(request: Any, texts: list[str], code: str = "NOERROR") -> Any:
    message, sets = sys.modules["dns.message"], sys.modules["dns.rrset"]
    response = message.make_response(request, recursion_available=True)
    response.set_rcode(sys.modules["dns.rcode"].from_text(code))
    if texts:
        (question,) = request.question
        kind = (question.rdclass, question.rdtype)
        response.answer.append(sets.from_text_list(question.name, _TTL, *kind, texts))
    # Parsed anew: dnspython indexes the records of a message only when it parses them.
    return message.from_wire(response.to_wire())
