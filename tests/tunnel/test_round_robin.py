"""The number that the processes of a run share."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from pywrap.tunnel import round_robin, shared_file
from pywrap.tunnel.round_robin import RoundRobinCounter
from tests.support.child import source_of


def create_alone():
    return shared_file.create(shared_file.copy_alone)


CREATE = (round_robin.create, create_alone)


@pytest.fixture(params=CREATE)
def path(request):
    path = request.param()
    yield path
    os.close(int(path.rpartition("/")[2]))


def following(turn):
    return turn, turn + 1


def test_each_takes_the_turn_after_the_one_before(path):
    one, next_after = RoundRobinCounter(path), RoundRobinCounter(path)
    assert [one.take(following), next_after.take(following), one.take(following)] == [0, 1, 2]


def test_chains_do_not_share_their_counter(path):
    first, second = RoundRobinCounter(path, 0), RoundRobinCounter(path, 1)
    assert [first.take(following), first.take(following), second.take(following)] == [0, 1, 0]


def take_200(path):
    counter = RoundRobinCounter(path)
    for _ in range(200):
        print(counter.take(lambda turn: (turn, turn + 1)))


def test_processes_that_take_counter_at_once_never_take_the_same(path):
    # Whose descriptors are closed, as those of all children that subprocess makes.
    children = [
        subprocess.Popen([sys.executable, "-c", source_of(take_200, path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    taken = [int(turn) for child in children for turn in child.communicate()[0].split()]
    assert sorted(taken) == list(range(600))


def test_it_is_no_descriptor_that_programs_expect(path):
    assert int(path.rpartition("/")[2]) >= 64


@pytest.mark.parametrize("create", CREATE)
def test_where_there_are_only_small_numbers(create):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, limits[1]))
    try:
        path = create()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert RoundRobinCounter(path).take(following) == 0
    os.close(int(path.rpartition("/")[2]))


@pytest.mark.parametrize("path", ["", "/proc/self/fd/987654", "/nowhere"])
def test_a_process_that_cannot_reach_it_counts_for_itself(path):
    alone = RoundRobinCounter(path)
    assert [alone.take(following) for _ in range(3)] == [0, 1, 2]


def test_a_descriptor_that_is_another_file_by_now_is_left_alone(tmp_path):
    file = tmp_path / "precious"
    file.write_bytes(b"do not touch")
    with file.open("r+b") as opened:
        alone = RoundRobinCounter(f"/proc/self/fd/{opened.fileno()}")
        assert [alone.take(following) for _ in range(2)] == [0, 1]
    assert file.read_bytes() == b"do not touch"


def test_a_turn_leaves_no_descriptor(path):
    before = os.listdir("/proc/self/fd")
    RoundRobinCounter(path).take(following)
    assert os.listdir("/proc/self/fd") == before
