"""Does a proxy support pipelining, and forward what comes behind a request?"""

from __future__ import annotations

from pywrap.launch.check.report import NO, YES
from tests.support.examined import (
    METHOD_NONE,
    MICROSOCKS,
    TCP,
    examined,
    url_of,
    verdicts,
)
from tests.support.swallower import swallower


def test_microsocks_hangs_on_pipelined_messages(microsocks):
    told = examined(url_of(microsocks))
    assert verdicts(told) == {**TCP, **METHOD_NONE, **MICROSOCKS}
    assert told["udp"]["why"] == "command not supported by the proxy"
    assert told["pipelining"]["why"] == "no answer when all comes at once"


def test_a_server_that_swallows_what_is_behind_a_request():
    with swallower() as proxy:
        told = examined(url_of(proxy), patience=3)
    assert verdicts(told).items() >= {"pipelining": YES, "data_behind": NO}.items()
    assert told["data_behind"]["why"] == (
        "no answer when all comes at once; not when the data wait for its answer"
    )
