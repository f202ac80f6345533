"""The sources that a datagram socket remembers."""

from __future__ import annotations

from pywrap.intercept.udp import receive
from pywrap.intercept.udp.receive import Receiver


def test_sources_are_forgotten_unwanted_ones_first(monkeypatch):
    monkeypatch.setattr(receive, "_SOURCES", 8)
    receiver = Receiver(None, None, None, accepts_unsolicited=False)
    peers = [(f"192.0.2.{number}", 9) for number in range(100)]
    for number, peer in enumerate(peers):
        # The first one is sent to all the time.
        receiver.allow_source(peers[0])
        receiver.allow_source(peer)
        receiver._remember(("198.51.100.1", number), False)
        assert len(receiver._known) <= 8
    assert receiver._known[peers[0]] and receiver._known[peers[-1]]
    assert peers[1] not in receiver._known
