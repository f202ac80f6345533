"""Does a proxy listen for a peer (BIND)?"""

from __future__ import annotations

from pywrap.launch.check.report import NO, YES
from tests.support.examined import (
    examined,
    relaying,
    url_of,
)


def test_dante_takes_the_announcement_of_a_name_for_an_address(dante):
    told = examined(url_of(dante, "socks4a"))
    assert told["names"]["verdict"] == NO
    assert told["names"]["why"].startswith("rejected or failed, as without 4a every name is")
    assert (told["connect"]["verdict"], told["bind"]["verdict"]) == (YES, YES)


def test_a_bind_at_the_peers_address_is_none():
    with relaying(at_peer=True) as proxy:
        told = examined(url_of(proxy))
    assert told["bind"]["verdict"] == NO
    assert told["bind"]["why"].startswith("granted, but: it listens at the address of the peer")
