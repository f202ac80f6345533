"""What an error says about a proxy, and what only about the destination."""

import pytest

from pywrap.errors import AuthenticationFailed, ProtocolError, ProxyClosed, ProxyTimeout, Rejected
from pywrap.launch.check.report import NO, UNKNOWN
from pywrap.launch.check.verdicts import weigh, words


@pytest.mark.parametrize(
    ("error", "certain", "verdict"),
    [
        # The destination may not be there.
        (Rejected("connection refused", 111, 5), False, UNKNOWN),
        (Rejected("connection refused", 111, 5), True, NO),
        (ProxyClosed("the proxy hung up"), False, UNKNOWN),
        (ProxyClosed("the proxy hung up"), True, NO),
        # It is the proxy that cannot: commands and addresses in SOCKS5, methods in HTTP.
        (Rejected("command not supported", 95, 7), False, NO),
        (Rejected("address type not supported", 97, 8), False, NO),
        (Rejected("405 Method Not Allowed", 95, 405), False, NO),
        (AuthenticationFailed("wrong password"), False, NO),
        (ProtocolError("not SOCKS"), False, NO),
        # Silence says nothing.
        (ProxyTimeout("no answer"), True, UNKNOWN),
    ],
)
def test_what_an_error_says_about_the_proxy(error, certain, verdict):
    assert weigh(error, certain) == verdict


def test_a_hang_up_is_put_in_words():
    assert words(ProxyClosed("the proxy hung up after 0 of 2 bytes")) == "it hangs up instead of answering"
    assert words(ProtocolError("hop 1: not SOCKS")) == "hop 1: not SOCKS"
