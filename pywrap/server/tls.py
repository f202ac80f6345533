"""The TLS front of ``--listen-tls``: what clients call socks5+tls. SOCKS inside is what it is without."""

from __future__ import annotations

import ssl

from pywrap.errors import ConfigError, ProtocolError


def server_context(certificate: str, key: str, clients: str = "") -> ssl.SSLContext:
    """A context with a certificate and its key; with ``clients``, only for those that have one of that CA.

    Raises:
        ConfigError: a file cannot be read, or is none.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key or None)
        if clients:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
    except ssl.SSLError as err:
        raise ConfigError(f"not a certificate with its key: {certificate}: {err.reason or err}") from err
    except OSError as err:
        raise ConfigError(f"cannot read the certificate or its key: {certificate}: {err.strerror}") from err
    return context


class Tls:
    """The codec of one connection, see ``wrapped.Codec``."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._early = b""
        self.ended = False
        self._is_ready = False

    def decode(self, data: bytes) -> bytes:
        self._incoming.write(data)
        plain = []
        try:
            if not self._is_ready:
                self._object.do_handshake()
                self._is_ready = True
                if self._early:
                    self._object.write(self._early)
                    self._early = b""
            while True:
                piece = self._object.read(65536)
                if not piece:
                    self.ended = True
                    break
                plain.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLError as err:
            raise ProtocolError(f"TLS: {(err.reason or str(err)).replace('_', ' ').lower()}") from err
        return b"".join(plain)

    def encode(self, data: bytes) -> bytes:
        if self._is_ready:
            self._object.write(data)
        else:
            # Hardly: the server is silent before the client's greeting.
            self._early += data
        return self._outgoing.read()

    def finish(self) -> bytes:
        try:
            self._object.unwrap()
        except ssl.SSLError:
            # The close_notify of the other end has not come yet. Ours is written.
            pass
        return self._outgoing.read()

    def take_output(self) -> bytes:
        return self._outgoing.read()
