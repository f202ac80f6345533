"""TLS around a connection: both ends of ``socks5+tls`` in URLs. The SOCKS inside is the usual one."""

from __future__ import annotations

import ssl
from hashlib import sha256

from pywrap.errors import ConfigError, ProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy

# The type of the record that a client begins with (RFC 8446 section 5.1).
_HANDSHAKE = 22


def server_context(certificate: str, key: str, clients: str = "") -> ssl.SSLContext:
    """The context of a server.

    ``certificate``, ``key``: paths of PEM files. ``clients``: the path of the certificates of a CA; only
    clients with a certificate of that CA are accepted. "" accepts all.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
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


def client_context(hop: Proxy) -> ssl.SSLContext:
    """The context of a client that verifies the certificate of ``hop`` as its ``tls`` says.

    Raises:
        ConfigError: a file cannot be read, or is not what it should be.
    """
    tls = hop.tls
    assert tls is not None
    file = tls.ca
    try:
        context = ssl.create_default_context(cafile=tls.ca or None)
        if tls.pin and not tls.ca:
            # The user gave the fingerprint of one certificate, and no CA: ``Tls`` compares it.
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.certificate:
            file = tls.certificate
            context.load_cert_chain(tls.certificate)
    except ssl.SSLError as err:
        raise ConfigError(f"not a file of certificates: {file}: {err.reason or err}") from err
    except OSError as err:
        raise ConfigError(f"cannot read the certificates: {file}: {err.strerror}") from err
    return context


class Tls:
    """The codec of one connection (it implements ``wrapped.Codec``).

    ``hop``: the proxy that this end is a client of; None for the server's end.
    """

    def __init__(self, context: ssl.SSLContext, hop: Proxy | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        tls = self._tls = None if hop is None else hop.tls
        name = None if hop is None or tls is None else tls.name or hop.host
        self._object = context.wrap_bio(self._incoming, self._outgoing, tls is None, name)
        self._early = b""
        self.ended = False
        self._is_ready = self._has_begun = False
        if tls is not None:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                # The ClientHello is written (``take_output``).
                pass

    def decode(self, data: bytes) -> bytes:
        """The plain bytes of ``data``, which came by the network; b"" at the end, and while there are none.

        Raises:
            ProtocolError: ``data`` is no TLS, or the certificate is not accepted.
        """
        if not self._has_begun and self._tls is None and data[0] != _HANDSHAKE:
            # Said at once: OpenSSL waits for five bytes, and a client of SOCKS sends three.
            guess = " (probably SOCKS without TLS)" if data[0] in (4, 5) else ""
            raise ProtocolError(f"TLS: a client without it, whose first byte is {data[0]:#04x}{guess}")
        self._has_begun = True
        self._incoming.write(data)
        plain = []
        try:
            if not self._is_ready:
                self._object.do_handshake()
                self._compare()
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
        except ssl.SSLCertVerificationError as err:
            raise ProtocolError(f"TLS: {err.verify_message.lower().rstrip('.')}") from err
        except ssl.SSLError as err:
            raise ProtocolError(f"TLS: {(err.reason or str(err)).replace('_', ' ').lower()}") from err
        return b"".join(plain)

    def _compare(self) -> None:
        """Compare the certificate with the fingerprint that the user gave, before any plain byte is sent."""
        if self._tls is not None and self._tls.pin:
            found = sha256(self._object.getpeercert(True) or b"").hexdigest()
            if found != self._tls.pin:
                raise ProtocolError(f"TLS: another certificate than the pinned one: {found}")

    def encode(self, data: bytes) -> bytes:
        """The bytes to send for the plain bytes ``data``; b"" while the handshake is not complete."""
        if self._is_ready:
            self._object.write(data)
        else:
            # Only a client's end comes here: a server sends nothing before it has read the client's greeting.
            self._early += data
        return self._outgoing.read()

    def finish(self) -> bytes:
        """The bytes to send at the end: the close_notify alert (RFC 8446, section 6.1)."""
        try:
            self._object.unwrap()
        except ssl.SSLError:
            # The close_notify of the other end has not come yet. Ours is written.
            pass
        return self._outgoing.read()

    def take_output(self) -> bytes:
        """The bytes that TLS itself has to send now, such as messages of the handshake."""
        return self._outgoing.read()
