"""Children of asyncio programs on uvloop and rloop."""

from __future__ import annotations

from tests.support.destinations import ONLY_THE_PROXY_KNOWS
from tests.support.loops import on, through
from tests.support.run import run


def test_children_are_covered_and_the_same(loop, proxy, http_server):
    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran = run(*through(proxy), *on(loop, "children_asyncio.py", url))
    assert ran.json == {
        **dict.fromkeys(("usual", "empty", "isolated"), [0, ["200"]]),
        "cat": [0, ["said to it"]],
        "shell": ["/bin/sh\n", 3],
        "signal": -15,
        "missing": "FileNotFoundError",
    }, str(ran)
    assert proxy.asked == [("CONNECT", ONLY_THE_PROXY_KNOWS, http_server.port)] * 3
