"""The destinations that a proxy is asked for in tests: a listener of our own, or the proxy itself.

A proxy on loopback is asked for a listener in this process, which answers a secret by another one. Any other
proxy is asked for its own address, where it must answer with its protocol; if that fails (Dante refuses it),
for a listener at the address from which the proxy sees us connect. In each case the bytes that come back
prove that the tunnel ends at the right place.
"""

from __future__ import annotations

import os
import selectors
import socket
from contextlib import ExitStack
from threading import Thread

from pywrap.config.host import parse_host, parse_port, without_brackets
from pywrap.errors import ConfigError
from pywrap.frozen import frozen
from pywrap.socks import v4, v5
from pywrap.socks.wire import IMPOSSIBLE, Endpoint, is_loopback, packed
from pywrap.tunnel.routes import address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from pywrap.config.settings import Proxy

SECRET_SIZE = 16


@frozen
class Destination:
    """A destination that a test asks the proxy for.

    ``says``: the bytes to send through the tunnel. ``size``: the number of bytes that come back, beginning
    with ``hears``. ``certain``: the destination is known to exist, so a refusal is the proxy's fault.
    """

    endpoint: Endpoint
    says: bytes = b""
    hears: bytes = b""
    size: int = 0
    certain: bool = False


@frozen
class Destinations:
    """The destinations for the tests by address (``plain``), by name, and by IPv6 address.

    ``ipv6`` is None where this machine has no such address. ``here``: all three are this machine, so a proxy
    that reaches one of them should reach all.
    """

    plain: Destination
    name: Destination
    ipv6: Destination | None
    here: bool = False


class Listener:
    """Listens on 127.0.0.1 and ::1, and answers ``secret`` by ``answer``.

    ``closing_secret`` is answered by ``closing_answer``, once the other end has ended its direction. Other
    users of this machine do not know these secrets, so a service with other answers is not this one. No
    secret is its own answer: a server that grants everything, and sends back the bytes that it gets, is no
    proxy.
    """

    def __init__(self) -> None:
        self.secret = os.urandom(SECRET_SIZE)
        self.answer = os.urandom(SECRET_SIZE)
        self.closing_secret = os.urandom(SECRET_SIZE)
        self.closing_answer = os.urandom(SECRET_SIZE)
        self._half_closed: set[socket.socket] = set()
        self.ipv6 = False
        self._stack = ExitStack()
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=128))
        self.port: int = listener.getsockname()[1]
        self._selector.register(listener, selectors.EVENT_READ, self._accept)
        try:
            # The same port for both: a proxy may resolve "localhost" to either address.
            other = socket.create_server(("::1", self.port), family=socket.AF_INET6, backlog=128)
        except OSError:
            # This machine has no IPv6, or the port is in use there: the report has "?".
            pass
        else:
            self.ipv6 = True
            self._selector.register(self._stack.enter_context(other), selectors.EVENT_READ, self._accept)
        self._stop, wake = socket.socketpair()
        self._selector.register(self._stack.enter_context(wake), selectors.EVENT_READ, None)
        self._thread = Thread(target=self._serve, name="pysocksify --check", daemon=True)

    def at(self, host: str, port: int | None = None) -> Destination:
        """The destination for this listener at ``host``; ``port`` is that of loopback by default."""
        return Destination(Endpoint(host, port or self.port), self.secret, self.answer, SECRET_SIZE)

    def also_at(self, address: str) -> Destination:
        """Listen at another address of this machine as well; may be called from any thread.

        Raises:
            OSError: the address is not this machine's.
        """
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        other = socket.create_server((address, 0), family=family)
        self._selector.register(other, selectors.EVENT_READ, self._accept)
        return self.at(address, other.getsockname()[1])

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._stack.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                key.data(key.fileobj)

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, self._answer)

    def _answer(self, connection: socket.socket) -> None:
        try:
            heard = connection.recv(SECRET_SIZE)
            if heard == self.secret:
                connection.send(self.answer)
                return
            if heard == self.closing_secret:
                self._half_closed.add(connection)
                return
            if not heard and connection in self._half_closed:
                connection.send(self.closing_answer)
        except OSError:
            # The proxy has reset the connection. The test that waits for the bytes reports it.
            pass
        self._half_closed.discard(connection)
        self._selector.unregister(connection)
        connection.close()


def parse_target(text: str) -> Endpoint:
    """Read HOST:PORT; an IPv6 address is in brackets.

    Raises:
        ConfigError: it is something else.
    """
    host, _, port = text.rpartition(":")
    number = parse_port(port)
    bare = without_brackets(host)
    if number is None or not host or (":" in host) != (bare != host):
        raise ConfigError(f"not a destination: `{text}`", "examples: example.org:443, [2001:db8::1]:443")
    return Endpoint(parse_host(bare), number)


def destinations(
    path: tuple[Proxy, ...], address: str, target: Endpoint | None, listener: Listener
) -> Destinations:
    """The destinations for the last hop of ``path``, at ``address``; the user's ``target`` replaces them."""
    # A raw hop may lead to another machine, where loopback would not be this one.
    raw = any(hop.scheme == "raw" for hop in path)
    if not raw and all(_is_loopback(host) for host in (address, *(hop.host for hop in path[:-1]))):
        found = _of_listener(listener)
    else:
        found = _of_itself(path[-1], address)
    if target is None:
        return found
    # The answer of the target is unknown, but it exists, since the user has named it.
    chosen = Destination(target, certain=True)
    literal = packed(target.host)
    return Destinations(
        chosen,
        chosen if literal is None else found.name,
        chosen if literal is not None and len(literal) == 16 else found.ipv6,
    )


def _of_listener(listener: Listener) -> Destinations:
    ipv6 = listener.at("::1") if listener.ipv6 else None
    return Destinations(listener.at("127.0.0.1"), listener.at("localhost"), ipv6, here=True)


def _of_itself(proxy: Proxy, address: str) -> Destinations:
    if proxy.scheme == "http":
        # A request without a body: the proxy answers it, with any status.
        says, hears, size = b"OPTIONS * HTTP/1.0\r\n\r\n", b"HTTP/", 5
    elif proxy.scheme in ("socks5", "socks5h"):
        # A greeting: the proxy answers with its choice of a method, any of them.
        says, hears, size = bytes([v5.VERSION, 1, v5.NO_AUTHENTICATION]), bytes([v5.VERSION]), 2
    else:
        # A command that does not exist: the proxy answers with a refusal.
        says = v4.pack_request(IMPOSSIBLE, Endpoint("127.0.0.1", proxy.port), b"")
        hears, size = b"\0", 8

    def at(host: str) -> Destination:
        return Destination(Endpoint(host, proxy.port), says, hears, size)

    return Destinations(
        at(address),
        at("localhost" if packed(proxy.host) is not None else proxy.host),
        at(address if ":" in address else "::1"),
    )


def _is_loopback(host: str) -> bool:
    address = address_of(host)
    return host == "localhost" if address is None else is_loopback(address)
