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
    from collections.abc import Callable
    from typing import Protocol, TypeAlias

    # The offset of the datagram in ``memory``, its sender (``sockaddr``), and the datagram itself, which
    # is valid until the next ``receive``.
    Received: TypeAlias = tuple[int, bytes, memoryview]

    class Batch(Protocol):
        """A buffer, ``memory``, and the system calls that receive into it and send from it."""

        @property
        def memory(self) -> memoryview: ...

        def receive(self, sock: socket) -> list[Received]:
            """Receive up to ``DATAGRAMS``; [] when there is none, or the kernel has reported an error."""

        def add(self, start: int, size: int, to: bytes) -> None:
            """Let ``send`` send ``size`` bytes of ``memory``, from ``start`` on, to ``to`` (``sockaddr``)."""

        def send(self, sock: socket, alone: Callable[[int, int, bytes], None]) -> tuple[int, int]:
            """Send the parts that were added; return how many datagrams and bytes the kernel took.

            For each that it did not take, ``alone(start, size, to)`` is called, in its place among the
            others.
            """


# How many datagrams are received by one system call. More of them make it no faster; each takes 68 KiB of
# address space, for which the kernel uses as much memory as the longest datagrams so far needed.
DATAGRAMS = 32

# Room in front of each datagram, for the header of an answer, which has an address and never a name.
HEADROOM = 4 + 16 + 2

# The longest datagram has 65,527 bytes (of IPv6, without a jumbogram), so none is ever cut. A multiple of
# the page size: short ones share no page with the room of long ones.
_SLOT = 64 * 1024 + 4096


STARTS = tuple(number * _SLOT + HEADROOM for number in range(DATAGRAMS))
MEMORY = DATAGRAMS * _SLOT
ROOM = _SLOT - HEADROOM


class PlainBatch:
    """Receives and sends by one system call for each datagram; implements ``Batch``."""

    def __init__(self) -> None:
        self.memory = memoryview(bytearray(MEMORY))
        self._added: list[tuple[int, int, bytes]] = []

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
            received.append((start, pack_sockaddr(family, source), memory[start : start + count]))
        return received

    def add(self, start: int, size: int, to: bytes) -> None:
        """Let the next ``send`` send ``size`` bytes of the memory, from ``start`` on, to ``to``, packed."""
        self._added.append((start, size, to))

    def send(self, sock: socket, alone: Callable[[int, int, bytes], None]) -> tuple[int, int]:
        """Send the added parts; return how many datagrams and bytes. ``alone`` is called for each failure."""
        added, self._added = self._added, []
        datagrams = total = 0
        for start, size, to in added:
            try:
                sock.sendto(self.memory[start : start + size], unpack_sockaddr(to)[1])
            except OSError:
                alone(start, size, to)
            else:
                datagrams += 1
                total += size
        return datagrams, total
