"""Datagrams that are received together, and parts of them that are sent together.

One system call for each datagram is what a relay of datagrams spends its time on. ``mmsg.KernelBatch`` takes
one for many; ``PlainBatch`` has the same methods, and is for machines where that cannot be.

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
        @property
        def memory(self) -> memoryview: ...

        def receive(self, sock: socket) -> list[Received]:
            """What has come, up to ``DATAGRAMS``; nothing when the kernel had an error to tell."""

        def add(self, start: int, size: int, to: bytes) -> None:
            """Send that part of ``memory`` to an address, with the next ``send``."""

        def send(self, sock: socket, alone: Callable[[int, int, bytes], None]) -> tuple[int, int]:
            """Send what was added; return how many datagrams and bytes the kernel took.

            Each that it did not take is given to ``alone(start, size, to)``, in its place among the others.
            """


# In one system call. More of them make it no faster; each costs 68 KiB of address space, of which
# the kernel has memory for as much as datagrams have used so far.
DATAGRAMS = 32

# In front of what is received: the header of an answer has an address, never a name.
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
        """What has come on ``sock``, up to the room that there is."""
        family, memory = sock.family, self.memory
        # A handler that failed may have left something.
        self._added = []
        received: list[Received] = []
        for start in STARTS:
            try:
                count, source = sock.recvfrom_into(memory[start : start + ROOM])
            except BlockingIOError:
                break
            except OSError:
                # Of a datagram that we sent: it is told once.
                continue
            received.append((start, pack_sockaddr(family, source), memory[start : start + count]))
        return received

    def add(self, start: int, size: int, to: bytes) -> None:
        """Send ``size`` bytes of the memory from ``start`` on to ``to``, packed, with the next ``send``."""
        self._added.append((start, size, to))

    def send(self, sock: socket, alone: Callable[[int, int, bytes], None]) -> tuple[int, int]:
        """Send what was added; return how many datagrams and bytes. ``alone`` gets those that fail."""
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
