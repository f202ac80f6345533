"""A socket is known again by its inode."""

from __future__ import annotations

import os
import socket

import pytest

from pywrap.intercept.socket_inodes import inode, is_open


def test_a_copy_is_the_same_socket():
    with socket.socket() as sock, sock.dup() as copy:
        assert inode(copy.fileno()) == inode(sock.fileno())
        assert is_open(copy.fileno(), inode(sock.fileno()))


def test_another_socket_at_the_same_number_is_another():
    with socket.socket() as sock, socket.socket() as other:
        number = inode(sock.fileno())
        os.dup2(other.fileno(), sock.fileno())
        assert not is_open(sock.fileno(), number)


def test_what_is_closed_is_not_open():
    sock = socket.socket()
    fd, number = sock.fileno(), inode(sock.fileno())
    sock.close()
    assert not is_open(fd, number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        inode(fd)


def test_a_file_with_the_number_of_a_socket_is_none(tmp_path):
    with open(tmp_path / "file", "w") as file:
        assert not is_open(file.fileno(), inode(file.fileno()))
