"""The part of a proxy's URL behind the ``?``: how its certificate is verified (TLS), and Kerberos."""

from __future__ import annotations

from pywrap.config.config_error import ConfigError
from pywrap.config.settings import PROTECTIONS, Kerberos, Tls
from pywrap.config.settings_env import quote
from pywrap.config.words import suggest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.config.settings import Proxy

OF_TLS = ("name", "ca", "pin", "cert")
OF_KERBEROS = ("gssapi", "protection")

# How many hexadecimal digits a SHA-256 has.
_PIN = 64


def parse_security(
    scheme: str, over_tls: bool, values: dict[str, str], text: str
) -> tuple[Tls | None, Kerberos | None]:
    """Read the ``values`` of a query, by their keys; ``text`` is the whole URL, for messages.

    Raises:
        ConfigError: a key is unknown, its value is wrong, or it has no effect with this scheme.
    """
    known = (*(OF_TLS if over_tls else ()), *(OF_KERBEROS if scheme in ("socks5", "socks5h") else ()))
    for key in values:
        if key not in known:
            hint = suggest(key, known, "words") if known else "it takes none: without TLS, only SOCKS5 does"
            raise ConfigError(f"unknown word behind the `?` of a proxy: `{key}`", hint)
    tls = None
    if over_tls:
        pin = values.get("pin", "").replace(":", "").lower()
        if "pin" in values and (len(pin) != _PIN or not all(digit in "0123456789abcdef" for digit in pin)):
            hint = "openssl x509 -in CERTIFICATE -noout -fingerprint -sha256"
            raise ConfigError(f"not the SHA-256 of a certificate: `{values['pin']}`", hint)
        tls = Tls(values.get("name", ""), values.get("ca", ""), pin, values.get("cert", ""))
    kerberos = None
    if "gssapi" in values:
        protection = values.get("protection", Kerberos().protection)
        if protection not in PROTECTIONS:
            raise ConfigError(
                f"unknown protection: `{protection}`", suggest(protection, PROTECTIONS, "levels")
            )
        kerberos = Kerberos(values["gssapi"], protection)
    elif "protection" in values:
        raise ConfigError("`protection` without `gssapi` in the URL of a proxy", "socks5h://HOST?gssapi")
    return tls, kerberos


def needs_relay(hop: Proxy) -> tuple[str, str]:
    """The message and the hint for a patched program whose socket cannot go through ``hop``.

    Its descriptor is the connection to the proxy, so no code of ours could encrypt its bytes.
    """
    what = "over TLS" if hop.tls is not None else "with Kerberos"
    return f"a proxy {what} needs a relay, which a confinement has: `{hop}`", "--confine on (or auto)"


def query_of(proxy: Proxy) -> str:
    """The query of the URL of ``proxy``, with its ``?``, as ``parse_security`` reads it; "" without one."""
    words = []
    if proxy.tls is not None:
        tls = proxy.tls
        named = zip(OF_TLS, (tls.name, tls.ca, tls.pin, tls.certificate), strict=True)
        words += [f"{key}={_quoted(value)}" for key, value in named if value]
    if proxy.kerberos is not None:
        service = proxy.kerberos.service
        words.append(f"gssapi={_quoted(service)}" if service else "gssapi")
        if proxy.kerberos.protection != Kerberos().protection:
            words.append(f"protection={proxy.kerberos.protection}")
    return "?" + "&".join(words) if words else ""


def _quoted(value: str) -> str:
    # The slash of a path, and the separator of a service, are no separators here.
    return quote(value.encode("utf-8", "surrogateescape")).replace("%2F", "/")
