"""Proxies as URLs, in the forms that curl's ``--proxy`` takes, and what TLS and Kerberos need behind a ``?``.

Where curl guesses, this is an error: curl takes a URL without a scheme for HTTP, and ignores the text after a
blank. Messages show a URL with its password masked, and never text that may be a password in the wrong place.
"""

from __future__ import annotations

from pywrap.config.config_error import ConfigError, mask
from pywrap.config.host import is_address, parse_host, parse_port
from pywrap.config.settings import DEFAULT_PORT, SCHEMES, Proxy
from pywrap.config.settings_env import quote
from pywrap.config.url_security import parse_security, query_of
from pywrap.config.words import suggest

# How a scheme ends for a proxy that is reached over TLS, as in socks5+tls (the form of GOST). curl has
# `https` for http+tls.
TLS = "+tls"
HTTPS = "https"
HTTPS_PORT = 443

# Other spellings: schemes that contain one of the words of OVER_TLS, and the names below.
OVER_TLS = ("tls", "ssl")
OVER_TLS_SCHEMES = ("socks5s", "socks4s", "sockss", "wss")

# The scheme that GNOME and desktops with its settings write into $ALL_PROXY: a SOCKS5 server that resolves
# names. (For curl it means SOCKS4.)
ANY_SOCKS = "socks"

# RFC 1929 section 2: a length is one byte. ``socks.v4`` has the same limit.
LONGEST_TEXT = 255


def parse_proxy(text: str) -> Proxy:
    """Read ``scheme://[user[:password]@]host[:port][/][?KEY=VALUE&…]``.

    Username and password are percent-decoded; characters beyond ASCII are sent as UTF-8.

    Raises:
        ConfigError: not such a URL, or its protocol cannot carry the username or password.
    """
    if any(_is_blank(char) for char in text):
        raise ConfigError("blank or control character in a proxy URL", "percent-encode it: a space is %20")
    scheme, over_tls, rest = _split_scheme(text)
    authority, rest = _split_path(rest)
    query = rest.removeprefix("/")
    if query and (not query.startswith("?") or "@" in query):
        raise ConfigError(f"proxy URL with more than a host and a port: `{mask(text)}`", _hint_slash(rest))
    login, at, place = authority.rpartition("@")
    user, colon, secret = login.partition(":")
    host, port = _split_port(place, HTTPS_PORT if over_tls and scheme == "http" else DEFAULT_PORT)
    values = {}
    for piece in query[1:].split("&") if query[1:] else []:
        key, _, value = piece.partition("=")
        values[key] = percent_decode(value).decode("utf-8", "surrogateescape")
    tls, kerberos = parse_security(scheme, over_tls, values, text)
    proxy = Proxy(
        scheme,
        host,
        port,
        # `@host` has no username, as in curl; `:@host` has an empty one.
        percent_decode(user) if user or colon else None,
        percent_decode(secret) if colon else None,
        tls,
        kerberos,
    )
    check_credentials(proxy)
    return proxy


def format_proxy(proxy: Proxy, masked: bool = True) -> str:
    """Write ``proxy`` as a URL; with ``masked``, ``***`` stands for the password."""
    login = "" if proxy.username is None else quote(proxy.username)
    if proxy.password is not None:
        login += ":***" if masked else f":{quote(proxy.password)}"
    scheme = proxy.scheme if proxy.tls is None else f"{proxy.scheme}{TLS}"
    return f"{scheme}://{login}{'@' if login else ''}{proxy}{query_of(proxy)}"


def check_credentials(proxy: Proxy) -> None:
    """Refuse a username or password that the protocol of ``proxy`` cannot carry.

    Raises:
        ConfigError: one is too long, not allowed, missing, or has a character that is not allowed.
    """
    shown = format_proxy(proxy)
    username, password = proxy.username, proxy.password
    if proxy.scheme in ("socks4", "socks4a"):
        if password is not None:
            raise ConfigError(f"SOCKS4 has no passwords: `{shown}`", "leave it out, or use socks5h://")
        if username is not None and b"\0" in username:
            raise ConfigError(f"a SOCKS4 username cannot contain a NUL: `{shown}`")
    if proxy.scheme == "raw" and username is not None:
        raise ConfigError(f"a raw hop is asked for nothing, so it has no username: `{shown}`")
    if proxy.kerberos is not None and username is not None:
        raise ConfigError(f"a username besides Kerberos: `{proxy}`", "the ticket says who you are")
    if password is not None and not username:
        raise ConfigError(f"a password without a username: `{shown}`")
    if proxy.scheme == "http":
        # RFC 7617 section 2: the first colon ends the username; lengths have no limit.
        if username is not None and b":" in username:
            # The username is not quoted: it may be a password in the wrong place.
            raise ConfigError(f"an HTTP username cannot contain a colon: `{proxy}`")
        return
    if username is not None and len(username) > LONGEST_TEXT:
        raise ConfigError(f"a username of more than {LONGEST_TEXT} bytes: `{proxy}`")
    if password is not None and len(password) > LONGEST_TEXT:
        raise ConfigError(f"a password of more than {LONGEST_TEXT} bytes: `{shown}`")


def percent_decode(text: str) -> bytes:
    """Decode %XX; any other ``%`` stays, as in curl, since passwords contain it."""
    # surrogateescape: bytes of the command line or of a file that are not UTF-8 are sent unchanged.
    head, *parts = text.encode("utf-8", "surrogateescape").split(b"%")
    data = bytearray(head)
    for part in parts:
        code = part[:2]
        if len(code) == 2 and all(digit in b"0123456789abcdefABCDEF" for digit in code):
            data.append(int(code, 16))
            data += part[2:]
        else:
            data += b"%" + part
    return bytes(data)


def is_over_tls(scheme: str) -> bool:
    """Whether ``scheme``, in lower case, is one of proxies over TLS, however it is spelt."""
    return scheme == HTTPS or scheme in OVER_TLS_SCHEMES or any(mark in scheme for mark in OVER_TLS)


def over_tls(shown: str) -> ConfigError:
    """The error for a proxy over TLS in another spelling; ``shown`` is what the user wrote."""
    hint = "socks5h+tls://HOST:PORT; http+tls and the others likewise"
    return ConfigError(f"not how a proxy over TLS is written: `{mask(shown)}`", hint)


# ---------------------------------------------------------------- the parts of a URL

_MARKS_OF_SCHEMES = str.maketrans("", "", "+-.")


def _split_scheme(text: str) -> tuple[str, bool, str]:
    scheme, separator, rest = text.partition("://")
    # RFC 3986 section 3.1.
    if not separator or not scheme.translate(_MARKS_OF_SCHEMES).isalnum():
        hint = f"write one of these before it: {', '.join(f'{name}://' for name in SCHEMES)}"
        raise ConfigError(f"proxy URL without a scheme: `{mask(text)}`", hint)
    name = scheme.lower()
    inside = "http" if name == HTTPS else name.removesuffix(TLS)
    if inside == ANY_SOCKS:
        inside = "socks5h"
    if inside not in SCHEMES:
        if is_over_tls(name):
            raise over_tls(text)
        raise ConfigError(f"unknown proxy scheme: `{scheme}`", suggest(name, SCHEMES, "schemes"))
    return inside, name == HTTPS or name.endswith(TLS), rest


def _split_path(rest: str) -> tuple[str, str]:
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    return rest[:end], rest[end:]


def _hint_slash(rest: str) -> str:
    if "@" in rest:
        return "in a username or password write / as %2F, ? as %3F, # as %23"
    return "a proxy has no path and no fragment"


def _split_port(place: str, default: int) -> tuple[str, int]:
    if place.startswith("["):
        inside, closed, after = place[1:].partition("]")
        if not closed or (after and not after.startswith(":")):
            raise ConfigError("wrong brackets in a proxy URL", "an IPv6 address is written `[::1]:1080`")
        if inside.count(":") < 2:
            raise ConfigError(f"not an IPv6 address: `{inside}`")
        host, colon, port = inside, after[:1], after[1:]
    else:
        _refuse_more_colons(place)
        host, colon, port = place.partition(":")
    if not host:
        raise ConfigError("proxy URL without a host", "write it as `socks5h://HOST:PORT`")
    if not colon:
        return parse_host(host), default
    number = parse_port(port)
    if number is None:
        # The port is not quoted: in socks5://user:password it is the password.
        raise ConfigError(f"proxy port is not a number from 1 to 65535, after `{host}:`")
    return parse_host(host), number


def _refuse_more_colons(place: str) -> None:
    if place.count(":") < 2:
        return
    if is_address(place):
        raise ConfigError(f"IPv6 address without brackets: `{place}`", f"write it as `[{place}]`")
    # The text is not quoted: other tools write user:password:host:port.
    raise ConfigError(
        "too many colons in a proxy URL",
        "it is written `socks5h://user:password@host:port`, an IPv6 address as `[::1]`",
    )


def _is_blank(char: str) -> bool:
    # Control characters: C0 with the space, DEL and C1. isspace() adds the blanks of Unicode.
    return char <= " " or "\x7f" <= char <= "\x9f" or char.isspace()
