"""From how far away an address can be reached."""

from __future__ import annotations

import pytest

from pywrap.socks.address_scope import connect_limit
from pywrap.socks.wire import packed


@pytest.mark.parametrize(
    ("limit", "literals"),
    [
        (0, ["0.0.0.0", "::"]),
        (1, ["127.0.0.1", "127.255.255.255", "169.254.1.1", "::1", "fe80::1", "febf::1"]),
        (2, ["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.1.1", "100.64.0.1"]),
        (2, ["100.127.255.255", "fc00::1", "fdff::1"]),
        (3, ["9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0"]),
        (3, ["100.63.255.255", "100.128.0.0", "128.0.0.1", "169.253.0.1", "203.0.113.1"]),
        (3, ["::2", "fec0::1", "fbff::1", "fe00::1", "2001:db8::1"]),
    ],
)
def test_the_borders_of_each_network(limit, literals):
    assert {literal: connect_limit(packed(literal)) for literal in literals} == dict.fromkeys(literals, limit)
