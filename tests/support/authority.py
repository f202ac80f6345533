"""A certificate authority of the tests' own (trustme), and contexts for both ends of TLS."""

from __future__ import annotations

import ssl
from hashlib import sha256
from pathlib import Path

import trustme

from pywrap.relay.tls import server_context


class Authority:
    """Files below ``folder``: ``ca`` is the authority's, ``certificate`` and ``key`` those issued last."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self._folder = folder
        self.ca = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.ca))
        self.issue("localhost")

    def issue(self, *names: str) -> trustme.LeafCert:
        issued = self._ca.issue_cert(*names)
        self.certificate, self.key = (self._folder / f"{names[0]}.{kind}" for kind in ("pem", "key"))
        self.certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(self.key))
        self.pin = sha256(ssl.PEM_cert_to_DER_cert(issued.cert_chain_pems[0].bytes().decode())).hexdigest()
        return issued

    def server(self, clients: bool = False) -> ssl.SSLContext:
        return server_context(str(self.certificate), str(self.key), str(self.ca) if clients else "")

    def client(self, own: trustme.LeafCert | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self._ca.configure_trust(context)
        if own is not None:
            own.configure_cert(context)
        return context
