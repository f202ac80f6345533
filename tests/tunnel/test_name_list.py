"""The numbers of names, in one list for all processes of a run."""

from __future__ import annotations

import os

import pytest

from pywrap.tunnel import round_robin
from pywrap.tunnel.name_list import RECORD, NameList

MOST = 100


@pytest.fixture
def path():
    path = round_robin.create()
    yield path
    os.close(int(path.rpartition("/")[2]))


def test_a_name_keeps_its_number(path):
    names = NameList(path, MOST)
    assert [names.number_of(name) for name in ("a", "b", "a")] == [0, 1, 0]
    assert [names.name_of(number) for number in (0, 1, 2)] == ["a", "b", ""]


def test_lists_of_one_file_are_one(path):
    one, other = NameList(path, MOST), NameList(path, MOST)
    assert [one.number_of("a"), other.number_of("b"), other.number_of("a"), one.number_of("b")] == [
        0,
        1,
        0,
        1,
    ]
    assert NameList(path, MOST).name_of(1) == "b"


def test_without_a_file_each_has_its_own():
    one, other = NameList("", MOST), NameList("", MOST)
    assert [one.number_of("a"), other.number_of("b")] == [0, 0]
    assert (one.name_of(0), other.name_of(0)) == ("a", "b")


@pytest.mark.parametrize("shared", [True, False])
def test_there_is_no_number_beyond_the_last(shared, path):
    names = NameList(path if shared else "", 2)
    assert [names.number_of(name) for name in ("a", "b", "c", "a")] == [0, 1, None, 0]


def test_a_name_can_get_a_further_number(path):
    names = NameList(path, MOST)
    names.number_of("a")
    assert names.next_after("a") == 1
    assert (names.name_of(0), names.name_of(1), names.number_of("a")) == ("a", "a", 1)


def test_a_further_number_is_the_one_that_another_process_has_given_it(path):
    one, other = NameList(path, MOST), NameList(path, MOST)
    one.number_of("a")
    other.number_of("a")
    assert one.next_after("a") == 1
    assert other.next_after("a") == 1


def test_a_name_that_no_record_can_hold_is_known_where_it_was_given(path):
    names, long = NameList(path, MOST), "x" * RECORD
    assert [names.number_of(long), names.number_of("b")] == [0, 1]
    assert names.name_of(0) == long
    assert NameList(path, MOST).name_of(0) == ""


def test_names_that_are_no_text_come_back_as_they_were(path):
    NameList(path, MOST).number_of("caf\udce9")
    assert NameList(path, MOST).name_of(0) == "caf\udce9"


def test_a_list_that_is_shared_late_keeps_its_numbers():
    names = NameList("", MOST)
    assert [names.number_of(name) for name in "ab"] == [0, 1]
    names.share()
    try:
        child = NameList(names.path, MOST)
        assert [child.number_of(name) for name in "cab"] == [2, 0, 1]
        assert names.number_of("c") == 2
    finally:
        os.close(int(names.path.rpartition("/")[2]))


def test_a_damaged_file_is_given_up(path):
    names = NameList(path, MOST)
    names.number_of("a")
    fd = round_robin.open_shared(path, os.O_APPEND)
    os.write(fd, b"half a record")
    os.close(fd)
    assert [names.number_of("b"), names.number_of("c")] == [1, 2]
    # It does not come back with the next fork.
    names.share()
    assert names.path == ""
