"""Requests for one name by both families, without a network: which waits for which."""

import errno
from types import SimpleNamespace

import pytest

from pywrap.confine.broker import Broker
from pywrap.confine.happy_eyeballs import Twins
from pywrap.socks.wire import Endpoint

HOST = Endpoint("host.test", 80)


class Asked:
    """Stands for a ``gate.Request``."""

    def __init__(self, size):
        self.syn = SimpleNamespace(source=bytes(size))
        self.cancel = None
        self.refused = []
        self.refuse = self.refused.append


@pytest.fixture
def world():
    made = SimpleNamespace(asked=[], stands=[])
    made.twins = Twins(made.asked.append, lambda *pair: made.stands.append(pair))
    return made


def test_a_request_that_is_given_up_leaves_its_place_to_the_twin(world):
    first, second = Asked(4), Asked(16)
    assert not world.twins.wait(first, HOST) and world.twins.wait(second, HOST)
    world.twins.given_up(first, HOST)
    assert world.asked == [second] and second.refused == []


def test_a_twin_that_is_given_up_leaves_the_place_to_another(world):
    first, second, third = Asked(4), Asked(16), Asked(16)
    assert not world.twins.wait(first, HOST) and world.twins.wait(second, HOST)
    second.cancel()
    assert world.twins.wait(third, HOST)
    world.twins.failed(first, HOST, errno.EHOSTUNREACH)
    assert (second.refused, third.refused) == ([], [errno.EHOSTUNREACH])


def test_another_port_and_another_host_are_no_twins(world):
    assert not world.twins.wait(Asked(4), HOST)
    assert not world.twins.wait(Asked(16), Endpoint("host.test", 81))
    assert not world.twins.wait(Asked(16), Endpoint("other.test", 80))


@pytest.mark.parametrize("number", [errno.ETIMEDOUT, errno.EMFILE])
def test_what_needs_no_answer_is_not_passed_on_to_what_comes_later(world, number):
    first = Asked(4)
    world.twins.wait(first, HOST)
    world.twins.failed(first, HOST, number)
    assert not world.twins.wait(Asked(16), HOST)


def test_what_stands_is_accepted_before_its_twin_gets_the_tunnel(monkeypatch):
    # The broker was busy meanwhile, so the connection of the first is still in a listener's queue.
    done = []
    broker = Broker.__new__(Broker)
    broker.loop = SimpleNamespace(after=lambda delay, call: call())
    broker._sockets = SimpleNamespace(listeners=["IPv4", "IPv6"])
    broker._gate = SimpleNamespace(settle=lambda *pair: done.append(pair))
    monkeypatch.setattr(Broker, "_accept", lambda self, listener, most: done.append(listener))
    broker._settle("first", "twin")
    assert done == ["IPv4", "IPv6", ("first", "twin")]
