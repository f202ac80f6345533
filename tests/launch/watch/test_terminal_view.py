"""What --watch draws on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from pywrap.config.settings import Settings
from pywrap.launch.watch.seen import Seen
from pywrap.launch.watch.terminal_view import drawn
from tests.support.watched import parent, stray


def test_a_terminal_shows_strays_in_red_and_takes_no_orders_from_names():
    seen = Seen()
    seen.note([stray("[red]\x1b[2J")])
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, color_system="standard")
    console.print(drawn(Settings(run="r"), [parent(), stray("[red]\x1b[2J")], seen))
    text = out.getvalue()
    assert "\x1b[2J" not in text and "[red]\\x1b" in text
    assert "\x1b[1;31mtcp to 192.0.2.7:443: NEITHER" in text and "\x1b[32mpatched" in text
    assert "past the proxies" in text
