"""Calls in threads: how many a client gets, which is next, and what happens when there are no more."""

import _thread
import threading
from collections import Counter

import pytest

from pywrap.relay.loop import Loop
from pywrap.server import threads
from pywrap.server.threads import Pool
from tests.support.servers import PATIENCE


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.dispose()


class Calls:
    """Jobs that are in a thread until they are released."""

    def __init__(self, loop, limit=8):
        self.loop = loop
        self.pool = Pool(loop, limit)
        self.release = threading.Semaphore(0)
        self.running = Counter()
        self.done = []
        self._changed = threading.Condition()

    def ask(self, client, count=1):
        return [
            self.pool.run(client, lambda: self._hang(client), lambda answer: self.done.append(client))
            for _ in range(count)
        ]

    def _hang(self, client):
        with self._changed:
            self.running[client] += 1
            self._changed.notify_all()
        assert self.release.acquire(timeout=PATIENCE)

    def wait_for(self, **running):
        with self._changed:
            assert self._changed.wait_for(lambda: self.running == running, PATIENCE), self.running

    def finish(self, count):
        """Let so many calls return, and the loop tell it."""
        until = len(self.done) + count
        self.release.release(count)
        while len(self.done) < until:
            self.loop.turn(PATIENCE)


@pytest.fixture
def calls(loop):
    calls = Calls(loop)
    yield calls
    calls.release.release(100)
    calls.pool.close()


def test_a_client_gets_as_many_threads_as_it_leaves_for_others(calls):
    calls.ask("a", 100)
    calls.wait_for(a=4)
    calls.ask("b", 100)
    calls.wait_for(a=4, b=2)
    calls.ask("c", 100)
    calls.wait_for(a=4, b=2, c=1)
    # And there is one for a client that comes now.
    calls.ask("d")
    calls.wait_for(a=4, b=2, c=1, d=1)


def test_clients_take_turns(loop):
    calls = Calls(loop, limit=1)
    calls.ask("x", 4)
    calls.ask("y", 2)
    calls.ask("z", 1)
    calls.finish(7)
    calls.pool.close()
    assert "".join(calls.done) == "x" + "xyz" + "xy" + "x"


def test_a_job_that_was_cancelled_leaves_the_queue(calls):
    first = calls.ask("a", 4)
    calls.wait_for(a=4)
    second = calls.ask("a", 100)
    for job in [*first, *second]:
        calls.pool.cancel(job)
    calls.pool.cancel(first[0])
    last = calls.ask("a")
    calls.release.release(4)
    while not calls.done:
        calls.loop.turn(PATIENCE)
        calls.release.release(1)
    assert calls.running == {"a": 5}
    assert calls.done == ["a"]
    calls.pool.cancel(last[0])


def test_a_thread_outlives_whatever_a_call_raises(loop):
    pool = Pool(loop)
    answers = []
    for err in (ValueError("no"), SystemExit("no"), MemoryError()):

        def fail(err=err):
            raise err

        pool.run("a", fail, answers.append)
        while loop.turn(PATIENCE) and not answers:
            pass
        assert isinstance(answers.pop(), OSError)
    assert len(pool._workers) == 1
    pool.close()


def test_no_thread_at_all_is_an_answer(loop, monkeypatch):
    def start(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "start_new_thread", start)
    pool = Pool(loop)
    answers = []
    pool.run("a", lambda: None, answers.append)
    assert answers == []
    loop.turn(0)
    assert str(answers[0]) == "[Errno 11] no thread can be started"


def test_no_further_thread_is_a_matter_of_waiting(calls, monkeypatch):
    calls.ask("a")
    calls.wait_for(a=1)

    def start(*args):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "start_new_thread", start)
    calls.ask("b")
    calls.finish(2)
    assert calls.done == ["a", "b"]


def test_threads_without_work_end(loop, monkeypatch):
    monkeypatch.setattr(threads, "IDLE", 0)
    before = _thread._count()
    pool = Pool(loop)
    answers = []
    pool.run("a", lambda: 1, answers.append)
    while pool._workers or not answers:
        loop.turn(PATIENCE)
    while _thread._count() > before:
        pass
    # And come back.
    pool.run("a", lambda: 2, answers.append)
    while len(answers) < 2:
        loop.turn(PATIENCE)
    assert answers == [1, 2]
    pool.close()
