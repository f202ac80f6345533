"""The one attempt of a strict chain."""

from __future__ import annotations

import pytest

from pywrap.errors import Failure, ProxyTimeout, SocksError
from pywrap.socks import v5
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.selection import Fixed
from pywrap.tunnel.strict_policy import StrictPolicy
from tests.support.hops import RAW, TARGET, A, B
from tests.support.play import play

OK = b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6)


@pytest.mark.parametrize("command", [v5.CONNECT, v5.BIND])
def test_its_attempt_is_that_of_the_other_policy(hops, command):
    strict = StrictPolicy(hops, (A, B), TARGET, command, fast_open=True).start()
    other = RetryPolicy(hops, Fixed((A, B)), TARGET, command, fast_open=True).start()
    for name in ("path", "first", "part", "seconds", "connect_limit", "reply_limit", "early", "watched"):
        assert getattr(strict, name) == getattr(other, name)
    assert play(strict.talk(), OK + OK) == play(other.talk(), OK + OK)
    assert not StrictPolicy(hops, (RAW, A), TARGET, command, fast_open=True).start().early


def test_a_failure_ends_it_and_other_chains_learn_which_hop_is_dead(hops, said):
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
