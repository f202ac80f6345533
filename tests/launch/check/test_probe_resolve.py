"""Does a proxy resolve names, as Tor's do?"""

from __future__ import annotations

import contextlib
import threading

import pytest

from pywrap.launch.check.report import NO, UNKNOWN, YES
from pywrap.socks import serve
from tests.support.examined import (
    PATIENT,
    Promising,
    examined,
    url_of,
)
from tests.support.play import hold


class Resolving(Promising):
    """Says ``answer`` to RESOLVE."""

    answer = b""

    class Handler(Promising.Handler):
        def handle(self):
            with contextlib.suppress(OSError, ValueError):
                request = hold(serve.receive_request(), self.request)
                if request.command == 0xF0:
                    self.request.sendall(self.server.answer)
                else:
                    self.request.sendall(request.reply(7))


@pytest.mark.parametrize(
    ("answer", "verdict", "why"),
    [
        (b"\5\0\0\1" + bytes([127, 79, 67, 75]) + b"\0\0", YES, ""),
        # v2ray 4.34, whatever it is asked for.
        (b"\5\0\0\1" + b"\x7f\0\0\1" + b"\x0b\xc1", NO, "it answers 127.0.0.1:3009 for 127.79.67.75"),
        (
            b"\5\0\0\1" + bytes([127, 79, 67, 75]) + b"\x0b\xc1",
            UNKNOWN,
            "suspicious: its answer has the port 3009",
        ),
        (b"\5\7\0\1" + bytes(6), NO, ""),
    ],
)
def test_what_resolve_answers(answer, verdict, why):
    with Resolving() as proxy:
        proxy.answer = answer
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,))
        thread.start()
        try:
            told = examined(url_of(proxy), patience=PATIENT)
        finally:
            proxy.shutdown()
            thread.join()
    assert told["resolve"]["verdict"] == verdict
    assert why in told["resolve"]["why"]


def test_tor_resolves(tor):
    told = examined(url_of(tor), patience=PATIENT)
    assert told["resolve"] == {"verdict": YES, "why": ""}
