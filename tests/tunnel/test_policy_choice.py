"""Which policy a connection has, and what that of a strict chain learns."""

from __future__ import annotations

from pywrap.config.settings import Chain
from pywrap.tunnel.policy_choice import policy
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.selection import Dynamic, Fixed
from pywrap.tunnel.strict_policy import StrictPolicy
from tests.support.hops import TARGET, A, B


def test_only_a_strict_chain_without_pipelining_has_nothing_to_retry(hops):
    strict, dynamic = Fixed((A, B)), Dynamic(Chain((A, B), type="dynamic"), hops)
    assert type(policy(hops, strict, TARGET)) is StrictPolicy
    assert type(policy(hops, dynamic, TARGET)) is RetryPolicy
    for pipeline in ("on", "auto"):
        assert type(policy(hops, strict, TARGET, pipeline=pipeline)) is RetryPolicy
    assert type(policy(hops, strict, TARGET, then=lambda: iter(()))) is RetryPolicy
