"""Takes the steps of a dialogue (``Aside``) that are neither sending nor receiving: TLS, GSSAPI, wrapping."""

from __future__ import annotations

from time import monotonic

from pywrap.errors import ProtocolError
from pywrap.relay.relay import prepare
from pywrap.relay.wrapped import Near, Wrapped
from pywrap.socks.wire import Establish, Secure, Wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Iterable
    from ssl import SSLContext

    from pywrap.config.settings import Proxy
    from pywrap.relay.loop import Loop
    from pywrap.relay.wrapped import Codec
    from pywrap.socks.wire import Aside, Context


class Securing:
    """Wraps connections to ``hops`` on ``loop``; the files of certificates that they name are read now.

    ``living``: the set of all ``Wrapped`` that have not ended, to which new ones are added.

    Raises:
        ConfigError: a file of certificates cannot be read, or python-gssapi is not installed.
    """

    def __init__(self, loop: Loop, hops: Iterable[Proxy], living: set[Wrapped] | None = None) -> None:
        self._loop = loop
        self._living: set[Wrapped] = set() if living is None else living
        self._contexts: dict[Proxy, SSLContext] = {}
        self._initiate: Callable[[Proxy], Context] | None = None
        # Imported for the first hop that needs them: they load OpenSSL and libkrb5.
        for hop in hops:
            if hop.tls is not None:
                from pywrap.relay.tls import client_context

                self._contexts[hop] = client_context(hop)
            if hop.kerberos is not None and self._initiate is None:
                from pywrap.relay.kerberos import initiator

                self._initiate = initiator()

    def close(self, patience: float) -> None:
        """Let connections that are ending send their last bytes for ``patience`` seconds; then reset all."""
        deadline = monotonic() + patience
        self._loop.turn(0)
        while (left := deadline - monotonic()) > 0 and any(each.is_ending for each in self._living):
            self._loop.turn(left)
        for wrapped in list(self._living):
            wrapped.abort()

    def take(self, step: Aside, sock: socket) -> socket:
        """Do ``step`` (``Wrap`` or ``Secure``) on ``sock``; return the socket to go on with.

        The returned one owns the connection, and has its plain bytes.

        Raises:
            SocksError: it cannot be done.
        """
        if isinstance(step, Wrap):
            return self._wrap(sock, step.codec)
        if isinstance(step, Secure):
            from pywrap.relay.tls import Tls

            return self._wrap(sock, Tls(self._contexts[step.hop], step.hop))
        raise AssertionError("a context is made by ``establish``, in a thread")

    def establish(self, step: Establish) -> None:
        """Make the context and token of ``step``. Waits for the KDC, so the loop's thread must not call it.

        Raises:
            AuthenticationFailed: there is no ticket for the hop.
        """
        assert self._initiate is not None, "the hop was among those of the beginning"
        step.context = self._initiate(step.hop)
        step.token = step.context.step(b"")

    def _wrap(self, sock: socket, codec: Codec) -> Near:
        if not isinstance(sock, Near):
            prepare(sock)
        self._loop.unwatch(sock.fileno())
        try:
            return Wrapped(self._loop, sock, codec, b"", None, self._living).near
        except OSError as err:
            raise ProtocolError(f"no descriptors to wrap the connection: {err.strerror}") from err
