"""What --watch has seen of a run, when it ends."""

from __future__ import annotations

from pywrap.launch.watch.runs import Process
from pywrap.launch.watch.seen import Seen


def test_a_process_without_a_socket_counts_when_it_is_seen_twice():
    quiet = Process(7, 5, 2.0, "sh", ("unprotected",), "not a Python, and not confined")
    seen = Seen()
    seen.note([quiet])
    assert not seen.anything and seen.summary() == "seen: nothing unprotected"
    seen.note([quiet])
    assert seen.anything and seen.summary() == "seen: 1 unprotected process: sh (7)"
