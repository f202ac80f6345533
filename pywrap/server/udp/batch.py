"""Batches of datagrams: several are received together, and parts of them are sent together.

A relay of datagrams spends most of its time on one system call for each datagram. ``mmsg.KernelBatch`` needs
one for many; ``PlainBatch`` has the same methods, for machines without these system calls.

A batch is used by one handler at a time, from ``receive`` to ``send``: all associations of a loop share it.
"""

from __future__ import annotations

from pywrap.server.udp.sockaddr import pack_sockaddr, unpack_sockaddr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable, Iterator
    from typing import Protocol, TypeAlias

    # A received message, which is one datagram, or several of one sender that the kernel has joined
    # (UDP_GRO): where it begins in ``memory``; its sender, a packed struct sockaddr; its length in bytes; and
    # the length of each datagram in it, of which the last one may be shorter (``datagrams_of``). It is valid
    # until the next ``receive``, and has ``HEADROOM`` bytes of room in front of it.
    Received: TypeAlias = tuple[int, bytes, int, int]

    # Called with a datagram that the kernel did not take, and its destination, a packed struct sockaddr.
    Alone: TypeAlias = Callable[[bytes, bytes], None]

    class Batch(Protocol):
        """A buffer, ``memory``, and the system calls that receive into it and send from it."""

        @property
        def memory(self) -> memoryview: ...

        def prepare(self, sock: socket) -> None:
            """Set the options of ``sock`` by which receiving costs less."""

        def receive(self, sock: socket) -> list[Received]:
            """Receive the messages that have come, as far as there is room; [] at an error."""

        def add(self, start: int, size: int, to: bytes, header: int = 0, header_size: int = 0) -> None:
            """Have the next ``send`` send ``size`` bytes of ``memory``, from ``start`` on, as one datagram.

            ``to``: the destination, a packed struct sockaddr. ``header``, ``header_size``: where the header
            is in ``memory``, and its length; it is sent in front of those bytes. Several datagrams may share
            one.
            """

        def add_many(
            self,
            start: int,
            step: int,
            size: int,
            count: int,
            to: bytes,
            header: int = 0,
            header_size: int = 0,
        ) -> None:
            """As ``add``, for ``count`` datagrams, each beginning ``step`` bytes behind the one before."""

        def send(self, sock: socket, alone: Alone) -> tuple[int, int]:
            """Send what was added; return how many datagrams and bytes the kernel took.

            Each that it did not take is given to ``alone(datagram, to)``, in its place among the others.
            """


# Messages in one system call. More of them make it no faster; each costs 68 KiB of address space, of which
# the kernel has memory for as much as datagrams have used so far.
DATAGRAMS = 32

# Room in front of each datagram, for the header of an answer, which has an address and never a name.
HEADROOM = 4 + 16 + 2

# The longest datagram has 65,527 bytes (of IPv6, without a jumbogram), so none is ever cut. A multiple of
# the page size: short ones share no page with the room of long ones.
_SLOT = 64 * 1024 + 4096


STARTS = tuple(number * _SLOT + HEADROOM for number in range(DATAGRAMS))
MEMORY = DATAGRAMS * _SLOT
ROOM = _SLOT - HEADROOM


def datagrams_of(start: int, length: int, size: int) -> Iterator[tuple[int, int]]:
    """Where each datagram of a message begins in the memory, and its length."""
    # A message of no bytes is one empty datagram.
    for at in range(start, start + length, size) if length else (start,):
        yield at, min(size, start + length - at)


class PlainBatch:
    """Receives and sends by one system call for each datagram; implements ``Batch``."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(MEMORY))
        self._added: list[tuple[int, int, bytes, int, int]] = []

    def prepare(self, sock: socket) -> None:
        """Do nothing: here each datagram is received by itself."""

    def receive(self, sock: socket) -> list[Received]:
        """Receive the datagrams that have come on ``sock``, up to ``DATAGRAMS``."""
        family, memory = sock.family, self.memory
        # A handler that failed may have left parts.
        self._added = []
        received: list[Received] = []
        for start in STARTS:
            try:
                count, source = sock.recvfrom_into(memory[start : start + ROOM])
            except BlockingIOError:
                break
            except OSError:
                # The error is one of a datagram that we sent; the kernel reports it once.
                continue
            received.append((start, pack_sockaddr(family, source), count, count))
        return received

    def add(self, start: int, size: int, to: bytes, header: int = 0, header_size: int = 0) -> None:
        """See ``Batch.add``."""
        self._added.append((start, size, to, header, header_size))

    def add_many(
        self, start: int, step: int, size: int, count: int, to: bytes, header: int = 0, header_size: int = 0
    ) -> None:
        """See ``Batch.add_many``."""
        self._added += [(start + step * each, size, to, header, header_size) for each in range(count)]

    def send(self, sock: socket, alone: Alone) -> tuple[int, int]:
        """See ``Batch.send``."""
        added, self._added = self._added, []
        memory, datagrams, total = self.memory, 0, 0
        for start, size, to, header, header_size in added:
            datagram = bytes(memory[header : header + header_size]) + bytes(memory[start : start + size])
            try:
                sock.sendto(datagram, unpack_sockaddr(to)[1])
            except OSError:
                alone(datagram, to)
            else:
                datagrams += 1
                total += len(datagram)
        return datagrams, total
