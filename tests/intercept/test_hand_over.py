"""Another file on a descriptor of the program."""

import os
import socket

import pytest

from pywrap.intercept import hand_over
from pywrap.intercept.hand_over import put, take_place
from pywrap.intercept.socket_inodes import inode, is_open


@pytest.fixture
def pair():
    theirs, ours = socket.socket(), socket.socket()
    yield theirs, ours
    theirs.close()
    ours.close()


@pytest.mark.parametrize("inheritable", [False, True])
@pytest.mark.parametrize("how", ["put", "put if", "take_place"])
def test_the_number_stays_and_is_inherited_as_before(pair, inheritable, how):
    theirs, ours = pair
    number = inode(ours.fileno())
    theirs.set_inheritable(inheritable)
    if how == "put":
        put(ours, theirs.fileno())
    elif how == "put if":
        put(ours, theirs.fileno(), inode(theirs.fileno()))
    else:
        take_place(ours, theirs.fileno(), inode(theirs.fileno()))
    assert inode(theirs.fileno()) == number
    assert theirs.get_inheritable() is inheritable
    assert (ours.fileno() == -1) is (how == "take_place")


@pytest.mark.parametrize("other", ["a pipe", "a socket", "nothing"])
@pytest.mark.parametrize("how", [put, take_place])
def test_a_descriptor_that_is_another_file_by_now_is_left_alone(pair, how, other):
    theirs, ours = pair
    number, fd = inode(theirs.fileno()), theirs.fileno()
    read, write = os.pipe()
    with socket.socket() as second:
        if other == "nothing":
            theirs.close()
        else:
            os.dup2(read if other == "a pipe" else second.fileno(), fd)
        before = os.stat(f"/proc/self/fd/{fd}") if other != "nothing" else None
        how(ours, fd, number)
        if before is None:
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(fd)
        else:
            assert inode(fd) == before.st_ino
        assert (ours.fileno() == -1) is (how is take_place), "closed all the same"
    os.close(read)
    os.close(write)


@pytest.mark.parametrize("how", [put, take_place])
def test_a_descriptor_that_becomes_another_file_behind_the_look_is_left_alone(pair, how, monkeypatch):
    """Another thread runs before os.fstat() returns, and forgets its socket; the number is a new socket's."""
    theirs, ours = pair
    number, fd = inode(theirs.fileno()), theirs.fileno()
    with socket.socket() as second:

        def look(fd, number):
            found = is_open(fd, number)
            os.dup2(second.fileno(), fd)
            return found

        monkeypatch.setattr(hand_over, "is_open", look)
        how(ours, fd, number)
        assert inode(fd) == inode(second.fileno())


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_the_mode_of_the_file_stays(pair, timeout):
    theirs, ours = pair
    copy = theirs.dup()
    socket.setdefaulttimeout(timeout)
    try:
        put(ours, theirs.fileno(), inode(theirs.fileno()))
    finally:
        socket.setdefaulttimeout(None)
    assert os.get_blocking(copy.fileno())
    copy.close()


def test_what_interrupts_the_look_leaves_the_descriptor_open(pair, monkeypatch):
    """A signal handler that raises may come at any call."""
    theirs, ours = pair
    number, fd = inode(theirs.fileno()), theirs.fileno()

    def interrupted(fd, number):
        raise KeyboardInterrupt

    monkeypatch.setattr(hand_over, "is_open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put(ours, fd, number)
    hand_over._Borrowed(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    assert is_open(fd, number)
