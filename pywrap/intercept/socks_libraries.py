"""SOCKS libraries that the program itself uses: they would send their proxy a placeholder address.

PySocks (requests' ``socks5://``, ``socket.socket = socks.socksocket``) and python-socks (aiohttp-socks,
websockets) resolve a name themselves when they are told so, or are given an address that another part of the
program has looked up. With our patches that is a placeholder, which means nothing to the program's own proxy,
behind our chain. So the request of such a library gets the name in the place of the placeholder, and the
program's proxy resolves it.
"""

from __future__ import annotations

from pywrap.intercept import originals
from pywrap.intercept.patching import with_state
from pywrap.socks.wire import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    # A function that returns the name behind an address; "" if that is no placeholder.
    NameOf: TypeAlias = Callable[[str], str]

PYSOCKS = "socks"


def install(patches: originals.Patches, module: Any, name_of: NameOf) -> None:
    """Patch ``module``, one of ``import_hook.SOCKS_LIBRARIES``, of any version.

    Another module of the same name (``socks`` may be the program's own) is left alone.
    """
    if module.__name__ == PYSOCKS:
        known = vars(getattr(module, "socksocket", object))
        if "_write_SOCKS5_address" in known:
            write = known["_write_SOCKS5_address"]
            write_name = with_state(write_socks5_address, write, _write=write, _name_of=name_of)
            patches.replace(module.socksocket, "_write_SOCKS5_address", write_name)
        # PySocks calls the functions that it has kept in this dictionary, and not those on the class.
        negotiators = known.get("_proxy_negotiators", {})
        for kind, negotiate in list(negotiators.items()):
            if negotiate.__name__ in ("_negotiate_SOCKS4", "_negotiate_HTTP"):
                by_name = with_state(negotiate_by_name, negotiate, _negotiate=negotiate, _name_of=name_of)
                negotiators[kind] = by_name
                patches.remember(lambda kind=kind, kept=negotiate: negotiators.update({kind: kept}))  # type: ignore[misc]
        return
    cls = getattr(module, "ConnectRequest", None)
    if cls is not None and "dumps" in vars(cls):
        dumps = with_state(dumps_with_name, cls.dumps, _dumps=cls.dumps, _name_of=name_of)
        patches.replace(cls, "dumps", dumps)


def write_socks5_address(
    self: Any, addr: tuple[str, int], file: Any, *, _write: Callable[..., Any], _name_of: NameOf
) -> Any:
    """PySocks' SOCKS5 requests, by ``_write``."""
    return _with_name(self, addr[0], _name_of, lambda host: _write(self, (host, *addr[1:]), file))


def negotiate_by_name(
    self: Any, dest_addr: str, dest_port: int, *, _negotiate: Callable[..., Any], _name_of: NameOf
) -> Any:
    """PySocks' SOCKS4 and HTTP requests, by ``_negotiate``."""
    return _with_name(self, dest_addr, _name_of, lambda host: _negotiate(self, host, dest_port))


def dumps_with_name(self: Any, *, _dumps: Callable[[Any], bytes], _name_of: NameOf) -> bytes:
    """The bytes of python-socks' requests, by ``_dumps``."""
    host = self.host
    self.host = _name_of(host) or host
    try:
        return _dumps(self)
    finally:
        self.host = host


def _with_name(sock: Any, host: str, name_of: NameOf, then: Callable[[str], Any]) -> Any:
    """Call ``then`` with the name of ``host``, which ``sock`` must not resolve, if it has one."""
    kind, address, port, rdns, *login = sock.proxy
    try:
        literal = host if packed(host) or rdns else _address(host)
    except OSError:
        # PySocks looks the host up once more, and reports the failure in its own way.
        literal = ""
    name = name_of(literal) if literal else ""
    if not name:
        return then(host)
    sock.proxy = (kind, address, port, True, *login)
    try:
        return then(name)
    finally:
        sock.proxy = (kind, address, port, rdns, *login)


def _address(host: str) -> str:
    import socket

    return socket.gethostbyname(host)
