"""The sources that a datagram socket remembers."""

from __future__ import annotations

from pywrap.intercept.udp import receive
from pywrap.intercept.udp.receive import Receiver


class Flow:
    """What an inbox needs to know of its flow: nothing, for a socket that is not connected."""


def test_sources_are_forgotten_strangers_first(monkeypatch):
    monkeypatch.setattr(receive, "_SOURCES", 8)
    box = Receiver(Flow(), accepts_unsolicited=False)
    peers = [(f"192.0.2.{number}", 9) for number in range(100)]
    for number, peer in enumerate(peers):
        # The first one is sent to all the time.
        box.allow_source(peers[0])
        box.allow_source(peer)
        box._remember(("198.51.100.1", number), False)
        assert len(box._known) <= 8
    assert box._known[peers[0]] and box._known[peers[-1]]
    assert peers[1] not in box._known
