"""Many datagrams by one system call: recvmmsg(2) and sendmmsg(2), which Python's sockets do not have.

The tables that both calls take are made once, with all addresses of memory in them. Successive datagrams of
one length to one address become one message, which the kernel cuts into datagrams (UDP_SEGMENT, udp(7)): the
way through the layers of the kernel's network code costs more than all the rest.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct
import sys
from _socket import AF_INET, AF_INET6, MSG_DONTWAIT, SOCK_DGRAM

from pywrap.server.udp.batch import DATAGRAMS, MEMORY, ROOM, STARTS, PlainBatch
from pywrap.server.udp.sockaddr import length_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from pywrap.server.udp.batch import Batch, Received

# struct mmsghdr of a little-endian machine of 64 bits: pointer to the address and its length, pointer to the
# pieces and their number, the same for ancillary data, flags; and the datagram's length, which recvmmsg()
# writes.
_HEADER = struct.Struct("@QI4xQQQQi4xI4x")
_QUADS = _HEADER.size // 8
_NAME_LENGTH, _PIECES, _PIECE_COUNT, _CONTROL, _CONTROL_LENGTH, _LENGTH = 1, 2, 3, 4, 5, 7

# struct iovec: pointer to the piece, and its length.
_PIECE = struct.Struct("@QQ")

# Bytes of room for each address; and by family, how many of them the address has.
_NAME = 32
_NAMES = {
    family: struct.Struct(f"{length_of(family)}s{_NAME - length_of(family)}x")
    for family in (AF_INET, AF_INET6)
}

# struct cmsghdr with the length of a segment, padded to the next multiple of 8. From linux/udp.h.
_SEGMENT = struct.Struct("@QiiH6x")
_SEGMENT_LENGTH = 18
_SOL_UDP, _UDP_SEGMENT = 17, 103

# The longest datagram of such a message. A segment may not be fragmented, so it has to fit into a packet:
# this length fits into one of Ethernet, with the headers of IPv6 and UDP. And ``DATAGRAMS`` of them fit into
# a message.
_LONGEST_SEGMENT = 1500 - 40 - 8


class Table:
    """``count`` messages, of one piece each until that is changed.

    ``at``: its address. ``quads``: the headers, by 8 bytes. ``pieces``: address, length, address, length…
    """

    def __init__(self, count: int) -> None:
        self.names, names = _allocate(count * _NAME)
        pieces, self.pieces_at = _allocate(count * _PIECE.size)
        self.headers, self.at = _allocate(count * _HEADER.size)
        for index in range(count):
            name, piece = names + index * _NAME, self.pieces_at + index * _PIECE.size
            _HEADER.pack_into(self.headers, index * _HEADER.size, name, _NAME, piece, 1, 0, 0, 0, 0)
        self.quads = self.headers.cast("Q")
        self.pieces = pieces.cast("Q")


class KernelBatch:
    """Receives by recvmmsg(2) and sends by sendmmsg(2); implements ``batch.Batch``.

    Raises:
        ImportError, AttributeError, OSError: this machine has no such calls.
    """

    def __init__(self) -> None:
        # Imported here and below: only servers that carry datagrams need it, from the first one on.
        import ctypes

        if ctypes.sizeof(ctypes.c_void_p) != 8 or sys.byteorder != "little":
            raise OSError(errno.ENOSYS, "a struct mmsghdr of another form")
        library = ctypes.CDLL(None, use_errno=True)
        self._recvmmsg, self._sendmmsg, self._errno = library.recvmmsg, library.sendmmsg, ctypes.get_errno
        number, address, count = ctypes.c_int, ctypes.c_void_p, ctypes.c_uint
        self._recvmmsg.argtypes = (number, address, count, number, address)
        self._sendmmsg.argtypes = (number, address, count, number)
        for call, rest in ((self._recvmmsg, (MSG_DONTWAIT, None)), (self._sendmmsg, (MSG_DONTWAIT,))):
            # EBADF is the error of a kernel that has the call.
            if call(-1, None, 0, *rest) >= 0 or self._errno() != errno.EBADF:
                raise OSError(self._errno(), os.strerror(self._errno()))

        self.memory, self._base = _allocate(MEMORY)
        self._incoming = Table(DATAGRAMS)
        for index, start in enumerate(STARTS):
            self._incoming.pieces[2 * index] = self._base + start
            self._incoming.pieces[2 * index + 1] = ROOM
        # recvmmsg() writes the length of each address where it reads the size of its room: so the headers
        # have to be restored from this copy.
        self._unused = bytes(self._incoming.headers)
        self._outgoing = Table(DATAGRAMS)
        self._segments, self._segments_at = _allocate(DATAGRAMS * _SEGMENT.size)
        self._destinations = [b""] * DATAGRAMS
        # The index of the first datagram of each message.
        self._firsts = [0] * DATAGRAMS
        self._added = self._messages = 0
        # The address of the last message; and the length of its datagrams if it can take more of them, else
        # -1.
        self._to, self._size = b"", -1
        self._longest_segment = _LONGEST_SEGMENT if _can_segment() else 0

    def receive(self, sock: socket) -> list[Received]:
        """Receive the datagrams that have come on ``sock``, up to ``DATAGRAMS``."""
        table, memory = self._incoming, self.memory
        # A handler that failed may have left parts.
        self._clear()
        table.headers[:] = self._unused
        count = self._recvmmsg(sock.fileno(), table.at, DATAGRAMS, MSG_DONTWAIT, None)
        if count <= 0:
            # EAGAIN, or the error of a datagram that we sent, which the kernel reports once.
            return []
        lengths = table.quads[_LENGTH : count * _QUADS : _QUADS].tolist()
        sources = _NAMES[sock.family].iter_unpack(table.names[: count * _NAME])
        return [
            (start, source, memory[start : start + length])
            for start, (source,), length in zip(STARTS, sources, lengths, strict=False)
        ]

    def add(self, start: int, size: int, to: bytes) -> None:
        """Let the next ``send`` send ``size`` bytes of the memory, from ``start`` on, to ``to``, packed."""
        table, index = self._outgoing, self._added
        self._added = index + 1
        table.pieces[2 * index] = self._base + start
        table.pieces[2 * index + 1] = size
        if size == self._size and to is self._to:
            self._lengthen(index)
            return
        message = self._messages
        self._messages = message + 1
        self._firsts[message] = index
        header = message * _QUADS
        table.quads[header + _PIECES] = table.pieces_at + index * _PIECE.size
        table.quads[header + _PIECE_COUNT] = 1
        table.quads[header + _CONTROL_LENGTH] = 0
        if self._destinations[message] is not to:
            self._destinations[message] = to
            table.names[message * _NAME : message * _NAME + len(to)] = to
            table.quads[header + _NAME_LENGTH] = len(to)
        self._to, self._size = to, size if 0 < size <= self._longest_segment else -1

    def _lengthen(self, index: int) -> None:
        """Put the datagram ``index`` into the last message, as a segment."""
        quads, message = self._outgoing.quads, self._messages - 1
        header = message * _QUADS
        count = index + 1 - self._firsts[message]
        quads[header + _PIECE_COUNT] = count
        if count == 2:
            at = message * _SEGMENT.size
            _SEGMENT.pack_into(self._segments, at, _SEGMENT_LENGTH, _SOL_UDP, _UDP_SEGMENT, self._size)
            quads[header + _CONTROL] = self._segments_at + at
            quads[header + _CONTROL_LENGTH] = _SEGMENT.size

    def send(self, sock: socket, alone: Callable[[int, int, bytes], None]) -> tuple[int, int]:
        """Send the added parts; return how many datagrams and bytes. ``alone`` is called for each failure."""
        table, messages = self._outgoing, self._messages
        ends = [*self._firsts[1:messages], self._added]
        done = first = datagrams = total = 0
        while done < messages:
            at = table.at + done * _HEADER.size
            count = self._sendmmsg(sock.fileno(), at, messages - done, MSG_DONTWAIT)
            if count > 0:
                done += count
                total += sum(table.pieces[2 * first + 1 : 2 * ends[done - 1] : 2])
                datagrams += ends[done - 1] - first
            else:
                # The error of an earlier datagram, which the kernel reports once; or the segments are longer
                # than a packet on the way there. Each datagram is tried again by itself.
                if self._errno() == errno.EIO and ends[done] - first > 1:
                    # EIO: the network interface cannot compute checksums, which UDP_SEGMENT needs.
                    self._longest_segment = 0
                for index in range(first, ends[done]):
                    start = table.pieces[2 * index] - self._base
                    alone(start, table.pieces[2 * index + 1], self._destinations[done])
                done += 1
            first = ends[done - 1]
        self._clear()
        return datagrams, total

    def _clear(self) -> None:
        self._added = self._messages = 0
        self._size = -1


def _can_segment() -> bool:
    """Whether the kernel has UDP_SEGMENT (since 4.18)."""
    sock = _socket.socket(AF_INET, SOCK_DGRAM)
    try:
        sock.getsockopt(_SOL_UDP, _UDP_SEGMENT)
    except OSError:
        return False
    finally:
        sock.close()
    return True


def make_batch() -> Batch:
    """The fastest batch that this machine has."""
    try:
        return KernelBatch()
    except (ImportError, AttributeError, OSError):
        # There is no ctypes (distributions may leave it out), the C library lacks the functions, or a filter
        # forbids the system calls.
        return PlainBatch()


def _allocate(size: int) -> tuple[memoryview, int]:
    """Anonymous memory and its address. Pages that were never written to take no memory."""
    import ctypes
    import mmap

    memory = mmap.mmap(-1, size)
    return memoryview(memory), ctypes.addressof(ctypes.c_char.from_buffer(memory))
