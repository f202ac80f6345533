"""Which policy a connection has, and what that of a strict chain learns."""

from __future__ import annotations

import pytest

from pywrap.config.settings import Chain, Proxy
from pywrap.errors import Failure, ProxyTimeout, SocksError
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.policy import policy
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.selection import Dynamic, Fixed
from pywrap.tunnel.strict_policy import StrictPolicy
from tests.support.play import play

A, B, RAW = Proxy("socks5h", "a.example"), Proxy("socks5h", "b.example"), Proxy("raw", "c.example")
TARGET = Endpoint("example.org", 443)
OK = b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6)


@pytest.fixture
def said():
    return []


@pytest.fixture
def hops(said):
    return Hops(lambda *_: [], said.append)


def test_only_a_strict_chain_without_pipelining_has_nothing_to_retry(hops):
    strict, dynamic = Fixed((A, B)), Dynamic(Chain((A, B), type="dynamic"), hops)
    assert type(policy(hops, strict, TARGET)) is StrictPolicy
    assert type(policy(hops, dynamic, TARGET)) is RetryPolicy
    for pipeline in ("on", "auto"):
        assert type(policy(hops, strict, TARGET, pipeline=pipeline)) is RetryPolicy
    assert type(policy(hops, strict, TARGET, then=lambda: iter(()))) is RetryPolicy


@pytest.mark.parametrize("command", [v5.CONNECT, v5.BIND])
def test_its_attempt_is_that_of_the_other_policy(hops, command):
    strict = StrictPolicy(hops, (A, B), TARGET, command, fast_open=True).start()
    other = RetryPolicy(hops, Fixed((A, B)), TARGET, command, fast_open=True).start()
    for name in ("path", "first", "part", "seconds", "connect_limit", "reply_limit", "early", "watched"):
        assert getattr(strict, name) == getattr(other, name)
    assert play(strict.talk(), OK + OK) == play(other.talk(), OK + OK)
    assert not StrictPolicy(hops, (RAW, A), TARGET, command, fast_open=True).start().early


def test_a_failure_ends_it_and_other_chains_learn_who_is_dead(hops, said):
    strict = StrictPolicy(hops, (A, B), TARGET, v5.CONNECT, fast_open=False)
    error = ProxyTimeout("no answer").copy(failure=Failure(A, A))
    assert strict.next_after(error) is None and strict.error_to_report(error) is error
    assert hops.is_dead(A) and not hops.is_dead(B)
    # It is not left out of this chain, so there is nothing to say.
    assert said == []
    strict.succeeded()
    assert not hops.is_dead(A)
    assert strict.next_after(SocksError("refused").copy(failure=Failure(B))) is None
    assert not hops.is_dead(B)
    strict.given_up(error)
    assert hops.is_dead(A)
