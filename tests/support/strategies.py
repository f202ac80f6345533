"""What hypothesis makes up: endpoints, credentials, and bytes that nearly are SOCKS."""

from __future__ import annotations

import ipaddress
import string

from hypothesis import strategies as st

from pywrap.socks.wire import Endpoint

ports = st.integers(0, 0xFFFF)
ipv4 = st.ip_addresses(v=4).map(str)
# Compressed by inet_ntop, which writes ::1.2.3.4 and ::ffff:1.2.3.4 in another way than ipaddress does.
ipv6 = st.ip_addresses(v=6).map(str)
names = st.text(string.ascii_letters + string.digits + "-._", min_size=1, max_size=255).filter(
    lambda name: not _is_literal(name)
)

# Of proxies: a name of one label, one of several, and literals of both families.
proxy_hosts = st.sampled_from(["h", "proxy.example", "::1", "192.0.2.1"])

texts = st.binary(max_size=255)
userids = texts.filter(lambda text: b"\0" not in text)


def endpoints(*hosts: st.SearchStrategy[str]) -> st.SearchStrategy[Endpoint]:
    return st.builds(Endpoint, st.one_of(hosts or (ipv4, ipv6, names)), ports)


def noise(*starts: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes, often behind one of ``starts``: pure chance seldom gets past a version number."""
    return st.builds(bytes.__add__, st.sampled_from((b"", *starts)), st.binary(max_size=600))


def _is_literal(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
