"""What is tried after which failure."""

from __future__ import annotations

import errno

import pytest

from pywrap.config.settings import Chain, Proxy
from pywrap.errors import (
    AUTHENTICATED,
    UNHEARD,
    AuthenticationFailed,
    Failure,
    NoCommonMethod,
    ProtocolError,
    ProxyClosed,
    ProxyTimeout,
    Rejected,
    SocksError,
)
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint, Recv, Send
from pywrap.tunnel import hops as hops_module
from pywrap.tunnel.hops import Hops
from pywrap.tunnel.retry_policy import RetryPolicy
from pywrap.tunnel.round_robin import RoundRobinCounter
from pywrap.tunnel.selection import Dynamic, Fixed, RoundRobin
from tests.support.play import Party

A, B, C = (Proxy("socks5h", f"{name}.example") for name in "abc")
FOUR, HTTP, RAW = (Proxy(scheme, "d.example") for scheme in ("socks4a", "http", "raw"))
TARGET = Endpoint("example.org", 443)


def failed(kind, hop=None, dead=None, in_doubt=False, authenticated=False, unheard=False):
    error = kind("it failed", errno.ECONNREFUSED, 5) if kind is Rejected else kind("it failed")
    stage = AUTHENTICATED if authenticated else UNHEARD if unheard else ""
    return error.copy(stage=stage, failure=Failure(hop, dead, not in_doubt))


def unheard(kind, hop):
    """Not a word has come from ``hop``."""
    return failed(kind, hop, hop, in_doubt=kind is ProxyClosed, unheard=True)


@pytest.fixture
def hops():
    return Hops(lambda *_: [])


@pytest.fixture
def dynamic(hops):
    return RetryPolicy(hops, Dynamic(Chain((A, B, C), type="dynamic"), hops), TARGET)


def pipelining(hops, *path, pipeline="on"):
    return RetryPolicy(hops, Fixed(path), TARGET, pipeline=pipeline)


def said(attempt):
    """The messages that ``attempt`` sends before it hears anything."""
    party = Party(attempt.talk())
    party.hear(b"")
    return b"".join(party.sent)


GREETING = b"\x05\x01\x00"
ASK_TARGET = b"\x05\x01\x00\x03" + b"\x0bexample.org" + b"\x01\xbb"
ASK_B = b"\x05\x01\x00\x03" + b"\x09b.example" + b"\x04\x38"


def test_a_fixed_path_is_tried_once(hops):
    attempts = RetryPolicy(hops, Fixed((A, B)), TARGET)
    assert attempts.start().path == (A, B)
    for error in (failed(SocksError, A, A), failed(ProxyClosed, A, B, True), failed(Rejected, B)):
        assert attempts.next_after(error) is None


def test_the_command_is_for_the_last_hop(hops):
    assert (
        said(RetryPolicy(hops, Fixed((FOUR,)), Endpoint("192.0.2.1", 80), v5.BIND).start())[:2] == b"\x04\x02"
    )


def test_a_dead_hop_is_left_out(hops, dynamic):
    assert dynamic.start().path == (A, B, C)
    assert dynamic.next_after(failed(SocksError, A, A)).path == (B, C)
    assert dynamic.next_after(failed(Rejected, B, C)).path == (B,)
    assert dynamic.next_after(failed(ProxyTimeout, B, B)) is None
    assert all(hops.is_dead(hop) for hop in (A, B, C))


def test_the_next_connection_knows(hops, dynamic):
    dynamic.start()
    dynamic.next_after(failed(SocksError, A, A))
    assert RetryPolicy(hops, Dynamic(Chain((A, B), type="dynamic"), hops), TARGET).start().path == (B,)


def test_success_brings_a_hop_back(hops):
    hops.died(A, failed(SocksError, A, A))
    attempts = RetryPolicy(hops, Fixed((A,)), TARGET)
    attempts.start()
    attempts.succeeded()
    assert not hops.is_dead(A)


@pytest.mark.parametrize("kind", [Rejected, ProxyTimeout])
def test_what_the_destination_refused_is_no_reason_for_another_way(hops, dynamic, kind):
    dynamic.start()
    assert dynamic.next_after(failed(kind, C)) is None
    assert not any(hops.is_dead(hop) for hop in (A, B, C))


def test_a_hang_up_in_doubt_is_the_same_path_again(dynamic):
    dynamic.start()
    assert dynamic.next_after(failed(ProxyClosed, C, None, True)).path == (A, B, C)
    # It is there, and hangs up again: so that is what it has to say.
    assert dynamic.next_after(failed(ProxyClosed, C, None, True)) is None


def test_a_hop_that_had_ended_is_found_out_the_second_time(dynamic):
    dynamic.start()
    dynamic.next_after(failed(ProxyClosed, C, None, True))
    assert dynamic.next_after(failed(Rejected, B, C)).path == (A, B)


def test_the_next_hop_is_dead_when_the_one_before_hangs_up_twice(dynamic):
    dynamic.start()
    assert dynamic.next_after(failed(ProxyClosed, A, B, True)).path == (A, B, C)
    assert dynamic.next_after(failed(ProxyClosed, A, B, True)).path == (A, C)
    # Each path has its own second chance.
    assert dynamic.next_after(failed(ProxyClosed, C, None, True)).path == (A, C)


def test_without_others_behind_it_a_way_has_all_the_time(hops, dynamic):
    attempt = RetryPolicy(hops, Fixed((A,)), TARGET).start()
    assert (attempt.part, attempt.seconds, attempt.connect_limit, attempt.reply_limit) == (
        1.0,
        float("inf"),
        0.0,
        0.0,
    )
    attempt = dynamic.start()
    assert 0 < attempt.part < 1
    assert attempt.connect_limit and attempt.reply_limit
    dynamic.next_after(failed(SocksError, A, A))
    attempt = dynamic.next_after(failed(SocksError, B, B))
    assert (attempt.part, attempt.connect_limit, attempt.reply_limit) == (1.0, 0.0, 0.0)


# ---------------------------------------------------------------- pipelining


@pytest.mark.parametrize(
    "pipeline, supports, pipelines",
    [
        ("off", None, False),
        ("off", True, False),
        ("on", None, True),
        ("on", True, True),
        ("on", False, False),
        ("auto", None, False),
        ("auto", True, True),
        ("auto", False, False),
    ],
)
def test_which_hop_is_sent_everything_at_once(hops, pipeline, supports, pipelines):
    if supports is not None:
        hops.set_pipelining(A, supports)
    assert said(pipelining(hops, A, pipeline=pipeline).start()) == GREETING + (
        ASK_TARGET if pipelines else b""
    )


@pytest.mark.parametrize("last", [FOUR, HTTP, RAW])
def test_auto_sends_the_last_hops_only_message_behind_what_it_knows(hops, last):
    hops.set_pipelining(A, True)
    # It may yet lose what comes behind its request.
    assert said(pipelining(hops, A, last, pipeline="auto").start()) == GREETING + (
        ASK_B.replace(b"\x09b.", b"\x09d.")[:-2] + last.port.to_bytes(2, "big")
    )
    hops.passes_on(A, True)
    behind = said(RetryPolicy(hops, Fixed((last,)), TARGET).start())
    assert said(pipelining(hops, A, last, pipeline="auto").start()).endswith(behind)


@pytest.mark.parametrize("last", [FOUR, HTTP])
def test_auto_sends_nothing_behind_a_message_to_a_hop_that_is_not_known(hops, last):
    hops.set_pipelining(A, True)
    assert said(pipelining(hops, last, A, pipeline="auto").start()) == said(
        RetryPolicy(hops, Fixed((last, A)), TARGET).start()
    )


@pytest.mark.parametrize("kind", [NoCommonMethod, ProtocolError, ProxyClosed, ProxyTimeout])
def test_what_pipelining_may_have_caused_is_tried_again_step_by_step(hops, kind):
    attempts = pipelining(hops, A)
    assert 0 < attempts.start().seconds < float("inf")
    attempt = attempts.next_after(failed(kind, A, A, authenticated=True))
    assert attempt.path == (A,)
    assert attempt.seconds == float("inf")
    assert said(attempt) == GREETING
    attempts.succeeded()
    assert hops.supports_pipelining(A) is False
    assert said(pipelining(hops, A).start()) == GREETING


def test_it_is_the_hops_fault_only_if_it_works_then(hops):
    attempts = pipelining(hops, A)
    attempts.start()
    attempts.next_after(failed(ProxyClosed, A, A))
    assert attempts.next_after(failed(ProxyClosed, A, A)) is None
    assert hops.supports_pipelining(A) is None


@pytest.mark.parametrize("kind", [Rejected, AuthenticationFailed, SocksError])
def test_what_was_understood_is_not_tried_again(hops, kind):
    attempts = pipelining(hops, A)
    attempts.start()
    assert attempts.next_after(failed(kind, A)) is None


def test_a_hop_that_was_seen_to_support_pipelining_is_known(hops):
    attempts = pipelining(hops, A, B)
    attempts.start()
    attempts.succeeded()
    assert hops.supports_pipelining(A) is True
    attempts = pipelining(hops, A, B)
    assert attempts.start().seconds == float("inf")
    assert attempts.next_after(failed(ProxyClosed, B, None, True)) is None


def test_a_silent_hop_may_not_have_been_told_by_the_hop_before(hops):
    attempts = pipelining(hops, A, B, C)
    attempts.start()
    assert said(attempts.next_after(unheard(ProxyTimeout, B))) == GREETING
    attempts.succeeded()
    # A answered what it was sent at once, and has lost the rest: B is innocent.
    assert [hops.supports_pipelining(hop) for hop in (A, B, C)] == [True, None, None]
    assert [hops.is_passer(hop) for hop in (A, B, C)] == [False, None, None]
    # The one stall: what is for B waits from now on, and then comes at once with what is for C.
    assert said(pipelining(hops, A, B, C).start()) == GREETING + ASK_B


def test_those_before_a_hop_that_failed_have_answered(hops):
    attempts = pipelining(hops, A, B, C)
    attempts.start()
    attempts.next_after(unheard(ProxyTimeout, C))
    assert [hops.supports_pipelining(hop) for hop in (A, B, C)] == [True, True, None]
    assert [hops.is_passer(hop) for hop in (A, B, C)] == [True, None, None]
    attempts.succeeded()
    assert hops.is_passer(B) is False


def test_a_hop_that_answers_others_meanwhile_was_not_told(asking):
    asking.set_pipelining(A, True)
    asking.set_pipelining(B, True)
    attempts = pipelining(asking, A, B)
    at(attempts, 1)
    assert not attempts.should_abandon()
    asking.set_pipelining(B, True)
    assert attempts.should_abandon()
    assert said(attempts.next_after(unheard(ProxyTimeout, B))) == GREETING
    attempts.succeeded()
    assert (asking.is_passer(A), asking.supports_pipelining(B)) == (False, True)


def test_a_hop_behind_that_wants_its_greeting_alone_is_the_one_to_blame(hops):
    attempts = pipelining(hops, A, B)
    attempts.start()
    assert said(attempts.next_after(unheard(ProxyClosed, B))) == GREETING
    attempts.succeeded()
    assert [hops.supports_pipelining(hop) for hop in (A, B)] == [True, False]
    assert hops.is_passer(A) is None


def test_a_hop_that_passed_on_and_does_not_any_more_is_to_be_asked_anew(hops):
    for hop in (A, B):
        hops.set_pipelining(hop, True)
    hops.passes_on(A, True)
    attempts = pipelining(hops, A, B)
    attempts.start()
    hops.set_pipelining(B, False)
    attempts.next_after(unheard(ProxyTimeout, B))
    attempts.succeeded()
    assert hops.supports_pipelining(A) is True


def test_a_hop_known_to_support_pipelining_is_not_suspected(hops):
    hops.set_pipelining(A, True)
    attempts = pipelining(hops, A, B)
    assert said(attempts.start()) == GREETING + ASK_B + GREETING + ASK_TARGET
    attempts.next_after(failed(ProxyTimeout, B, B))
    attempts.succeeded()
    assert [hops.supports_pipelining(hop) for hop in (A, B)] == [True, False]
    assert said(pipelining(hops, A, B).start()) == GREETING + ASK_B


def test_pipelining_that_failed_costs_no_living_hop(hops):
    attempts = RetryPolicy(hops, Dynamic(Chain((A, B), type="dynamic"), hops), TARGET, pipeline="on")
    attempts.start()
    assert attempts.next_after(failed(ProxyTimeout, A, A)).path == (A, B)
    assert not hops.is_dead(A)
    assert attempts.next_after(failed(ProxyTimeout, A, A)).path == (B,)


def test_a_raw_hop_sends_nothing_early(hops):
    for path, early in (((A, RAW), True), ((RAW, A), False)):
        assert RetryPolicy(hops, Fixed(path), TARGET, fast_open=True).start().early == early
        assert not RetryPolicy(hops, Fixed(path), TARGET).start().early


def test_what_is_said_to_the_destination_follows_and_blames_no_hop(hops):
    def talk():
        yield Send(b"hello")
        yield Recv(5)

    attempts = RetryPolicy(hops, Fixed((A,)), TARGET, pipeline="on", then=talk)
    party = Party(attempts.start().talk())
    party.hear(b"\x05\x00" + b"\x05\x00\x00\x01" + b"\x00" * 6)
    assert party.sent[-1] == b"hello"
    with pytest.raises(ProxyTimeout) as caught:
        party.dialogue.throw(ProxyTimeout("no answer in time"))
    assert caught.value.failure == Failure(A, None)
    # It has read the pipelined messages: to send them one by one would not help.
    assert attempts.next_after(caught.value) is None
    assert hops.supports_pipelining(A) is True and not hops.is_dead(A)


def test_pipelining_without_an_answer_is_probed(asking, asked):
    asking.set_pipelining(A, True)
    attempts = pipelining(asking, A, B, HTTP)
    assert attempts.start().watched
    assert not attempts.should_abandon()
    # Also the one that has taken some: it may be another by now. The last has only one message.
    assert [each for each in asked if each[0] == "pipelining"] == [
        ("pipelining", (A,)),
        ("pipelining", (A, B)),
    ]
    asking.set_pipelining(B, False)
    assert attempts.should_abandon()
    assert said(attempts.next_after(failed(ProxyTimeout, B, B))) == GREETING


@pytest.mark.parametrize("kind", [NoCommonMethod, ProtocolError, ProxyClosed])
def test_a_hop_that_supported_pipelining_may_be_another_by_now(hops, kind):
    hops.set_pipelining(A, True)
    attempts = pipelining(hops, A)
    attempts.start()
    assert said(attempts.next_after(failed(kind, A, A))) == GREETING
    attempts.succeeded()
    # To be asked anew.
    assert hops.supports_pipelining(A) is None
    assert attempts.next_after(failed(kind, A, A)) is None


def test_the_silence_of_a_destination_is_not_that_of_a_hop_known_to_support_pipelining(asking):
    asking.set_pipelining(A, True)
    attempts = pipelining(asking, A)
    attempts.start()
    assert attempts.next_after(failed(ProxyTimeout, A)) is None


def test_a_refusal_step_by_step_tells_as_much_as_a_success(hops):
    attempts = pipelining(hops, A, B)
    attempts.start()
    attempts.next_after(failed(ProxyTimeout, B, B))
    assert attempts.next_after(failed(Rejected, B)) is None
    assert [hops.supports_pipelining(hop) for hop in (A, B)] == [True, False]
    hops.forget_pipelining(B)
    attempts = pipelining(hops, B)
    attempts.start()
    attempts.next_after(failed(ProxyTimeout, B, None, authenticated=True))
    assert attempts.next_after(failed(Rejected, B)) is None
    assert hops.supports_pipelining(B) is False


def test_pipelined_messages_that_were_understood_are_not_lost(asking):
    attempts = pipelining(asking, A)
    attempts.start()
    asking.set_pipelining(A, True)
    assert not attempts.should_abandon()


def test_pipelining_that_fails_after_another_found_out_is_repeated_step_by_step(hops):
    first, second = (RetryPolicy(hops, Fixed((A,)), TARGET, pipeline="on") for _ in range(2))
    first.start()
    second.start()
    assert first.next_after(failed(ProxyTimeout, A, A)) is not None
    first.succeeded()
    assert hops.supports_pipelining(A) is False
    assert said(second.next_after(failed(ProxyTimeout, A, A))) == GREETING


def refused(hop, dead=None, code=1):
    return Rejected("no", errno.ECONNREFUSED, code).copy(failure=Failure(hop, dead))


def test_a_hop_that_fails_at_everything_is_the_one_that_fails(hops):
    attempts = RetryPolicy(hops, Dynamic(Chain((A, B), type="dynamic"), hops), TARGET)
    attempts.start()
    assert attempts.next_after(refused(A, B)).path == (A,)
    assert hops.is_dead(B)
    # Not both of B and the destination.
    assert attempts.next_after(refused(A)).path == (B,)
    assert not hops.is_dead(B)
    attempts.succeeded()
    assert hops.is_dead(A) and not hops.is_dead(B)


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_whatever_its_words(hops, code):
    attempts = RetryPolicy(hops, Dynamic(Chain((A, B), type="dynamic"), hops), TARGET)
    attempts.start()
    assert attempts.next_after(refused(A, B, code=code)).path == (A,)
    assert attempts.next_after(refused(A, code=code)).path == (B,)


def test_another_word_is_of_the_destination_and_blames_no_hop(hops):
    attempts = RetryPolicy(hops, Dynamic(Chain((A, B), type="dynamic"), hops), TARGET)
    attempts.start()
    assert attempts.next_after(refused(A, B, code=4)).path == (A,)
    assert attempts.next_after(refused(A, code=5)) is None
    assert not hops.is_dead(A)


def test_other_paths_know_which_hop_has_accused_which(hops):
    first, second = (
        RetryPolicy(hops, Dynamic(Chain((A, B), type="dynamic"), hops), TARGET) for _ in range(2)
    )
    first.start()
    first.next_after(refused(A, B, code=3))
    assert second.start().path == (A,)
    assert second.next_after(refused(A, code=3)).path == (B,)
    second.succeeded()
    assert hops.is_dead(A) and not hops.is_dead(B)


def test_an_accusation_ends_with_the_death_it_is_of(hops, monkeypatch):
    attempts = dynamic_of(hops, A, B)
    attempts.start()
    attempts.next_after(refused(A, B, code=3))
    later = hops_module.monotonic() + hops_module.DEAD_FOR + 1
    monkeypatch.setattr(hops_module, "monotonic", lambda: later)
    assert hops.accused_by(A, 3) == ()


def test_a_refusal_is_told_when_the_accused_is_dead_indeed(hops):
    attempts = RetryPolicy(hops, Dynamic(Chain((A, B), type="dynamic"), hops), TARGET)
    attempts.start()
    attempts.next_after(refused(A, B, code=5))
    refusal = refused(A, code=5)
    assert attempts.next_after(refusal).path == (B,)
    gone = failed(SocksError, B, B)
    assert attempts.next_after(gone) is None
    assert attempts.error_to_report(gone) is refusal
    # Not on the word of A any more.
    assert hops.is_dead(B) and not hops.is_dead(A)
    attempts = RetryPolicy(hops, Dynamic(Chain((A, B), type="dynamic"), hops), TARGET)
    assert attempts.start().path == (A,)
    assert attempts.next_after(refusal) is None


def test_a_refused_destination_takes_no_turn_of_a_round_robin(hops):
    chain = RoundRobin(Chain((A, B, C), type="round_robin", length=1), hops, RoundRobinCounter(""))
    paths = []
    for _ in range(3):
        attempts = RetryPolicy(hops, chain, TARGET)
        paths.append(attempts.start().path)
        assert attempts.next_after(refused(*paths[-1])) is None
    assert paths == [(A,), (B,), (C,)]


# ---------------------------------------------------------------- hops that grant too early


@pytest.mark.parametrize("kind", [ProxyClosed, ProxyTimeout, ProtocolError])
@pytest.mark.parametrize("place", [0, 1])
def test_a_hop_that_answers_without_the_one_before_is_alive(hops, dynamic, kind, place):
    path = A, B, C
    liar, good = path[place : place + 2]
    left = tuple(hop for hop in path if hop is not liar)
    dynamic.start()
    error = unheard(kind, good)
    attempt = dynamic.next_after(error)
    if kind is ProxyClosed:
        # In doubt: the same once more.
        assert attempt.path == path
        attempt = dynamic.next_after(error)
    assert attempt.path == left
    assert not any(map(hops.is_dead, path))
    dynamic.succeeded()
    assert [hop for hop in path if hops.is_dead(hop)] == [liar]
    assert dynamic_of(hops, *path).start().path == left


def test_a_refusal_of_the_destination_is_an_answer_too(hops, dynamic):
    dynamic.start()
    assert dynamic.next_after(unheard(ProtocolError, B)).path == (B, C)
    assert dynamic.next_after(failed(Rejected, C)) is None
    assert [hop for hop in (A, B, C) if hops.is_dead(hop)] == [A]
    # The hop that was not heard has accused no other.
    assert hops.accused_by(B, 1) == hops.accused_by(B, 5) == ()


@pytest.mark.parametrize("second", [SocksError, ProxyClosed, ProxyTimeout, ProtocolError])
def test_a_hop_that_answers_in_neither_way_is_dead(hops, second):
    attempts = dynamic_of(hops, A, B)
    attempts.start()
    attempt = attempts.next_after(unheard(ProtocolError, B))
    assert attempt.path == (B,)
    # There is another way behind it: that has no time without end.
    assert attempt.part < 1 and attempt.connect_limit
    error = failed(second, B, B, unheard=True)
    assert attempts.next_after(error).path == (A,)
    assert hops.is_dead(B) and not hops.is_dead(A)
    attempts.succeeded()
    assert hops.is_dead(B) and not hops.is_dead(A)


def test_random_and_round_robin_try_the_same_hop_without_the_one_before(hops):
    chain = Chain((A, B, C), type="round_robin", length=2)
    attempts = RetryPolicy(hops, RoundRobin(chain, hops, RoundRobinCounter("")), TARGET)
    assert attempts.start().path == (A, B)
    attempt = attempts.next_after(unheard(ProtocolError, B))
    assert B in attempt.path and A not in attempt.path
    attempts.succeeded()
    assert hops.is_dead(A) and not hops.is_dead(B)


def test_without_one_hop_to_spare_nothing_is_learned_of_the_one_before(hops):
    attempts = RetryPolicy(hops, Fixed((A, B)), TARGET)
    attempts.start()
    assert attempts.next_after(unheard(ProtocolError, B)) is None
    assert not hops.is_dead(A)


def test_a_program_without_patience_leaves_the_answer_to_the_question(asking, asked):
    attempts = dynamic_of(asking, A, B)
    at(attempts, 1)
    attempts.given_up(unheard(ProxyTimeout, B))
    assert asked == [(A, B)]
    assert not asking.is_dead(A) and not asking.is_dead(B)
    asking.died(A, unheard(ProxyTimeout, B))
    assert dynamic_of(asking, A, B).start().path == (B,)


# ---------------------------------------------------------------- silence


def at(attempts, number):
    """Have the present way of ``attempts`` wait for hop ``number``."""
    party = Party(attempts.start().talk())
    party.hear(b"" if number == 0 else (b"\x05\x00" + b"\x05\x00\x00\x01" + b"\x00" * 6) * number)


@pytest.fixture
def asked():
    return []


@pytest.fixture
def asking(asked):
    class HopProbes:
        def probe_liveness(self, path):
            asked.append(path)

        def probe_pipelining(self, path):
            asked.append(("pipelining", path))

    return Hops(lambda *_: [], hop_probes=HopProbes())


def dynamic_of(hops, *path):
    return RetryPolicy(hops, Dynamic(Chain(path, type="dynamic"), hops), TARGET)


def test_a_hop_that_is_waited_for_is_probed_and_not_twice_at_once(asking, asked):
    attempts = dynamic_of(asking, A, B, C)
    at(attempts, 1)
    assert not attempts.should_abandon()
    assert asked == [(A,), (A, B)]
    at(attempts, 2)
    assert not attempts.should_abandon()
    assert asked == [(A,), (A, B), (A, B, C)]


def test_a_raw_hop_is_not_asked(asking, asked):
    at(attempts := dynamic_of(asking, RAW, A), 0)
    assert not attempts.should_abandon()
    assert asked == [(RAW, A)]


@pytest.mark.parametrize(("at_hop", "found", "dead"), [(2, C, C), (2, B, B), (1, C, None), (0, A, A)])
def test_a_hop_that_is_found_dead_ends_the_attempt(asking, at_hop, found, dead):
    attempts = dynamic_of(asking, A, B, C)
    at(attempts, at_hop)
    asking.died(found, failed(ProxyTimeout, found, found))
    assert attempts.should_abandon() == (dead is not None)
    if dead:
        left = tuple(hop for hop in (A, B, C) if hop is not dead)
        assert attempts.next_after(failed(ProxyTimeout, (A, B, C)[at_hop])).path == left


def test_a_strict_chain_waits_for_dead_hops(asking, asked):
    attempts = pipelining(asking, A)
    attempts.start()
    asking.died(A, failed(ProxyTimeout, A, A))
    assert not attempts.should_abandon()
    assert asked == [("pipelining", (A,))]


def test_it_is_said_which_hop_is_left_out():
    error_to_report = []
    hops = Hops(lambda *_: [], error_to_report.append)
    for attempts in (pipelining(hops, A, pipeline="off"), dynamic_of(hops, A, B)):
        attempts.start()
        attempts.next_after(failed(SocksError, A, A))
        hops.live((A,))
    assert error_to_report == ["without the proxy a.example:1080 for 30 s: it failed"]


def test_a_hop_that_was_dead_before_is_waited_for_all_the_same(asking):
    for hop in (A, B):
        asking.died(hop, failed(SocksError, hop, hop))
    attempts = dynamic_of(asking, A, B)
    at(attempts, 1)
    assert not attempts.should_abandon()


def test_silence_is_the_destinations_while_the_hop_answers_others(asking):
    attempts = dynamic_of(asking, A, B)
    at(attempts, 1)
    assert attempts.waits_for_destination
    assert attempts.next_after(failed(ProxyTimeout, B)) is None
    assert not asking.is_dead(B)


@pytest.mark.parametrize("pipeline", ["off", "on"])
def test_the_last_hop_may_take_all_the_time_unless_it_may_have_lost_messages(asking, pipeline):
    attempts = RetryPolicy(asking, Dynamic(Chain((A, B), type="dynamic"), asking), TARGET, pipeline=pipeline)
    at(attempts, 0)
    assert not attempts.waits_for_destination
    at(attempts, 1)
    assert attempts.waits_for_destination == (pipeline == "off")
