"""Another file on a descriptor of the program."""

import os
import socket

import pytest

from pywrap.intercept.hand_over import put, take_place
from pywrap.intercept.socket_inodes import inode


@pytest.fixture
def pair():
    theirs, ours = socket.socket(), socket.socket()
    yield theirs, ours
    theirs.close()
    ours.close()


@pytest.mark.parametrize("inheritable", [False, True])
@pytest.mark.parametrize("how", ["put", "take_place"])
def test_the_number_stays_and_is_inherited_as_before(pair, inheritable, how):
    theirs, ours = pair
    number = inode(ours.fileno())
    theirs.set_inheritable(inheritable)
    if how == "put":
        put(ours, theirs.fileno())
    else:
        take_place(ours, theirs.fileno(), inode(theirs.fileno()))
    assert inode(theirs.fileno()) == number
    assert theirs.get_inheritable() is inheritable
    assert (ours.fileno() == -1) is (how == "take_place")


def test_a_descriptor_that_is_another_file_by_now_is_left_alone(pair):
    theirs, ours = pair
    number, fd = inode(theirs.fileno()), theirs.fileno()
    read, write = os.pipe()
    os.dup2(read, fd)
    other = inode(fd)
    take_place(ours, fd, number)
    assert inode(fd) == other
    assert ours.fileno() == -1, "ours is closed all the same"
    os.close(read)
    os.close(write)
