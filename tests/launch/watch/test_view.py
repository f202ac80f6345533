"""What --watch prints: a tree of processes, and lines of their connections."""

from __future__ import annotations

from pywrap.config.settings import Settings
from pywrap.launch.watch.view import as_text
from tests.support.watched import parent, stray


def test_the_tree_is_indented_and_like_connections_are_one_line():
    assert as_text(Settings(run="r"), [parent(), stray()]).splitlines() == [
        "run r through no proxy: 2 processes",
        "  5 python3: patched",
        "      tcp to [::1]:9050: hop, [::1]:9050",
        "    7 curl: UNPROTECTED: not a Python, and not confined",
        "        tcp to 192.0.2.7:443: NEITHER a hop nor direct by a rule  (2 of them)",
    ]
