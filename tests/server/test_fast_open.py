"""TCP Fast Open of the server's listeners, each time in a network namespace of its own."""

import pytest

from tests.support.namespaces import alone_with_fast_open
from tests.support.peers import Missing
from tests.support.run import program, run

CLIENTS_MAY, BOTH_MAY = 1, 3


def connect_three_times(setting, host, *options):
    try:
        enter = alone_with_fast_open(setting)
    except Missing as err:
        pytest.skip(str(err))
    return run(*enter, *program("connect_with_fast_open.py"), host, *options).json


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_request_may_be_in_the_syn(host):
    # The first gets the cookie.
    said = {"lines": [], "in_syn": [False, True, True], "passive": 2}
    assert connect_three_times(BOTH_MAY, host, "--fast-open") == said


def test_not_unless_it_is_asked_for():
    said = {"lines": [], "in_syn": [False, False, False], "passive": 0}
    assert connect_three_times(BOTH_MAY, "127.0.0.1") == said


def test_a_kernel_that_does_not_let_servers_is_told_of():
    line = "pysocksd: warning: --fast-open has no effect without `sysctl net.ipv4.tcp_fastopen=3`\n"
    said = {"lines": [line], "in_syn": [False, False, False], "passive": 0}
    assert connect_three_times(CLIENTS_MAY, "127.0.0.1", "--fast-open") == said
