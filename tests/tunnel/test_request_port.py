"""Which requests for UDP carry our port: by what was sent and answered, at which moment."""

from __future__ import annotations

from pywrap.config.settings import Chain
from pywrap.config.url import parse_proxy
from pywrap.tunnel.request_port import (
    TRIAL,
    UNHEARD,
    WITH_PORT,
    WITHOUT_PORT,
    RequestPort,
    RequestPorts,
)

FIRST = parse_proxy("socks5h://192.0.2.1:1080")
SECOND = parse_proxy("socks5h://192.0.2.2:1080")


def silent(moments=(100.0,)):
    """A hop that was sent datagrams without the port at these moments, and has not answered."""
    port = RequestPort()
    for moment in moments:
        assert not port.is_wanted(moment)
        port.sent(moment, False)
    return port


def in_trial():
    port = silent()
    assert port.is_wanted(101.0)
    return port


def test_a_first_request_carries_no_port():
    port = RequestPort()
    assert not port.is_wanted(100.0)
    assert not port.is_known


def test_what_follows_at_once_is_no_second_attempt():
    port = silent((100.0, 100.1, 100.5, 100.8))
    assert port.state == UNHEARD


def test_a_second_attempt_begins_the_trial():
    port = silent()
    assert port.is_wanted(101.0)
    assert port.state == TRIAL


def test_a_datagram_much_later_asks_something_else():
    port = silent((100.0, 200.0))
    assert port.state == UNHEARD
    assert port.is_wanted(201.0)


def test_an_answer_to_the_first_request_forbids_the_trial():
    port = silent()
    port.answered(False)
    assert not port.is_wanted(101.0)
    assert port.state == WITHOUT_PORT


def test_an_answer_to_the_request_with_the_port_is_remembered():
    port = in_trial()
    port.sent(101.0, True)
    port.answered(True)
    assert port.state == WITH_PORT
    # Also when nothing is answered any more.
    for moment in range(102, 200):
        assert port.is_wanted(moment)
        port.sent(moment, True)


def test_a_late_answer_to_the_first_request_ends_the_trial():
    port = in_trial()
    port.sent(101.0, True)
    port.answered(False)
    assert not port.is_wanted(102.0)
    assert port.state == WITHOUT_PORT


def test_only_the_first_answer_decides():
    port = in_trial()
    port.answered(False)
    port.answered(True)
    assert port.state == WITHOUT_PORT


def test_the_trial_ends_after_three_datagrams_and_five_seconds():
    port = in_trial()
    for moment in (101.0, 102.0, 103.0, 105.9):
        assert port.is_wanted(moment)
        port.sent(moment, True)
    assert not port.is_wanted(106.0)
    assert port.state == WITHOUT_PORT
    assert not port.is_wanted(110.0)


def test_the_trial_does_not_end_by_time_alone():
    port = in_trial()
    port.sent(101.0, True)
    # Of another socket, whose first association there still is.
    port.sent(102.0, False)
    port.sent(120.0, True)
    assert port.is_wanted(130.0)
    port.sent(130.0, True)
    assert not port.is_wanted(130.0)


def test_a_refusal_ends_the_trial():
    port = in_trial()
    port.refused()
    assert not port.is_wanted(102.0)
    assert port.state == WITHOUT_PORT


def test_a_refusal_of_a_hop_that_has_answered_changes_nothing():
    port = in_trial()
    port.answered(True)
    port.refused()
    assert port.state == WITH_PORT


def test_each_hop_has_its_own():
    ports = RequestPorts()
    one, other = Chain((FIRST,)), Chain((SECOND,))
    assert ports.of(one) is ports.of(Chain((FIRST,), name="same"))
    assert ports.of(one) is not ports.of(other)


def test_nothing_is_tried_in_a_chain_of_several():
    assert RequestPorts().of(Chain((FIRST, SECOND))) is None
