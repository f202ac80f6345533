"""The number of each host name: one list for all processes and interpreters of a run, only appended to.

Placeholder addresses are made from these numbers. A number belongs to its name for ever, in every process:
an address that a program keeps, or passes on, cannot come to mean another host. The list is in the memfd of
``shared_file``, behind the counters, in records of one size; the position of a record is the number. A record
is appended by one write() to a descriptor with O_APPEND, which Linux does atomically. So there is no lock,
and a process that is killed, or interrupted by a signal handler, leaves none behind.

Without the memfd a process has a list of its own, and other processes do not know its numbers. That is so
with ``--env`` and ``pywrap.install()`` until the first fork(), without /proc, and when the program has closed
all descriptors.
"""

from __future__ import annotations

import errno
import os

from pywrap.tunnel import round_robin, shared_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

# Bytes of a record: a name, and NULs behind it. No version of SOCKS can carry a name of more than 255 bytes.
RECORD = 256


class NameList:
    """``path``: of the memfd, as ``shared_file.create`` returns it, or "". ``most``: how many numbers exist.

    The caller holds its lock around each method except ``name_of``.
    """

    def __init__(self, path: str, most: int) -> None:
        self.path = path
        self._most = most
        self._number: dict[str, int] = {}
        self._name: dict[int, str] = {}
        # How many records of the file are in these two dictionaries.
        self._read = 0
        # The next number, when there is no file.
        self._next = 0
        # Whether there was a file that could not be written or read.
        self._is_lost = False

    def number_of(self, name: str) -> int | None:
        """The number of ``name``, a new one if it has none; None when no number is left."""
        number = self._number.get(name)
        return self.next_after(name) if number is None else number

    def next_after(self, name: str) -> int | None:
        """A new number for ``name``, unless another process has given it one meanwhile."""
        before = self._number.get(name)
        number = self._shared(lambda fd: self._append(fd, name, before))
        if number is None:
            number = self._next
            # setdefault() is atomic: a signal handler that interrupts this loop takes another number.
            while number < self._most and self._name.setdefault(number, name) != name:
                number += 1
        if number >= self._most:
            return None
        self._next = max(self._next, number + 1)
        self._name[number] = name
        self._number[name] = number
        return number

    def name_of(self, number: int) -> str:
        """The name with ``number``, given by any process of the run; "" when no name has it."""
        name = self._name.get(number)
        if name is None:
            name = self._shared(lambda fd: _at(fd, number)) or ""
            if name:
                self._name[number] = name
        return name

    def share(self) -> None:
        """Before a fork(): make a file if there is none, so that parent and child do not use a number twice.

        Raises:
            OSError: no descriptor left.
        """
        fd = round_robin.open_shared(self.path)
        if fd >= 0:
            os.close(fd)
        elif not self._is_lost:
            # There was no file, or the program has closed all descriptors, as a daemon does.
            self.path = round_robin.create()
            self._shared(self._write_all)

    def _write_all(self, fd: int) -> None:
        for number in range(self._next):
            _write(fd, self._name.get(number, ""))
        self._read = self._next

    def _append(self, fd: int, name: str, before: int | None) -> int:
        count = _count(fd)
        while self._read < count:
            data = os.pread(fd, RECORD * min(count - self._read, 4096), _place(self._read))
            # A local counter, not self._read: a signal handler that interrupts this advances that.
            first = self._read
            for at in range(0, len(data), RECORD):
                known = _name(data[at : at + RECORD])
                if known:
                    self._name.setdefault(first, known)
                    self._number[known] = first
                first += 1
            self._read = max(self._read, first)
        number = self._number.get(name)
        if number is not None and number != before:
            return number
        if count >= self._most:
            return count
        _write(fd, name)
        # After an append, the position is the end of what was appended.
        return _records(os.lseek(fd, 0, os.SEEK_CUR)) - 1

    def _shared(self, use: Callable[[int], T]) -> T | None:
        """The result of ``use(descriptor)`` on the file; None when there is no file."""
        fd = round_robin.open_shared(self.path, os.O_APPEND)
        if fd < 0:
            return None
        try:
            return use(fd)
        except OSError:
            # For example ENOSPC, no memory for another record. This process goes on with a list of its own.
            self.path = ""
            self._is_lost = True
            return None
        finally:
            os.close(fd)


def _place(number: int) -> int:
    return shared_file.SIZE + number * RECORD


def _count(fd: int) -> int:
    return _records(os.fstat(fd).st_size)


def _records(size: int) -> int:
    """How many records there are in a file of ``size`` bytes.

    Raises:
        OSError: the size is not that of whole records.
    """
    count, rest = divmod(size - shared_file.SIZE, RECORD)
    if rest:
        raise OSError(errno.EIO, "the list of names is damaged")
    return count


def _at(fd: int, number: int) -> str:
    return _name(os.pread(fd, RECORD, _place(number))) if number < _count(fd) else ""


def _write(fd: int, name: str) -> None:
    if os.write(fd, _record(name)) != RECORD:
        # RLIMIT_FSIZE: the kernel has written the part that fits.
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def _record(name: str) -> bytes:
    data = name.encode("utf-8", "surrogateescape")
    # A name that is too long gets an empty record. So no other name gets its number, which only this process
    # knows.
    return data.ljust(RECORD, b"\0") if len(data) < RECORD else bytes(RECORD)


def _name(record: bytes) -> str:
    return record.rstrip(b"\0").decode("utf-8", "surrogateescape")
