"""Many datagrams by one system call: recvmmsg(2) and sendmmsg(2), which Python's sockets do not have.

The tables that both calls take are made once, with all addresses of memory in them. Successive datagrams of
one length to one address are sent as one message, which the kernel cuts into datagrams (UDP_SEGMENT, udp(7));
and datagrams that the kernel has joined are received as one message (UDP_GRO). Each message passes through
the layers of the kernel's network once, which costs more than everything else.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct
import sys
from _socket import AF_INET, AF_INET6, MSG_DONTWAIT, SOCK_DGRAM
from array import array

from pywrap.server.udp.batch import DATAGRAMS, MEMORY, ROOM, STARTS, PlainBatch
from pywrap.server.udp.sockaddr import length_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from pywrap.server.udp.batch import Alone, Batch, Received

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
_SOL_UDP, _UDP_SEGMENT, _UDP_GRO = 17, 103, 104

# The struct cmsghdr of UDP_GRO on a received message, where the length of a segment is an int. In a table of
# them read as ints: the index of the first length, and the number of ints from one to the next.
_RECEIVED = struct.Struct("@Qiii4x")
_LENGTH_AT, _INTS = 4, 6

# The longest datagram of a message that the kernel cuts. A segment is not fragmented, so it has to fit into a
# packet: this one fits into that of an Ethernet, with the headers of IPv6 and UDP.
_LONGEST_SEGMENT = 1500 - 40 - 8

# The limits of one message that the kernel cuts: 64 segments (128 since Linux 6.7), and as many bytes as the
# longest packet has without its headers.
_SEGMENTS = 64
_LONGEST_MESSAGE = 65535 - 40 - 8

# The messages of one call of recvmmsg() while messages have many datagrams each: more of them would make the
# other sockets of the loop wait too long.
_GREAT_MESSAGES = 4

# The most that ``receive`` can return: the kernel puts no more than 128 into a message.
_MOST = max(DATAGRAMS, _GREAT_MESSAGES) * 128


class Table:
    """Room for ``count`` messages, and as many ``pieces``: address, length, address, length…

    ``at``: the address of the headers in memory. ``quads``: the headers, as integers of 8 bytes. Pages that
    were never written to take no memory.
    """

    def __init__(self, count: int, pieces: int) -> None:
        self.names, self.names_at = _allocate(count * _NAME)
        memory, self.pieces_at = _allocate(pieces * _PIECE.size)
        self.headers, self.at = _allocate(count * _HEADER.size)
        self.quads = self.headers.cast("Q")
        self.pieces = memory.cast("Q")


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
        self._incoming = table = Table(DATAGRAMS, DATAGRAMS)
        controls, controls_at = _allocate(DATAGRAMS * _RECEIVED.size)
        self._lengths = controls.cast("i")
        for index, start in enumerate(STARTS):
            table.pieces[2 * index] = self._base + start
            table.pieces[2 * index + 1] = ROOM
            _HEADER.pack_into(
                *(table.headers, index * _HEADER.size),
                *(table.names_at + index * _NAME, _NAME, table.pieces_at + index * _PIECE.size, 1),
                *(controls_at + index * _RECEIVED.size, _RECEIVED.size, 0, 0),
            )
        # recvmmsg() reads the room for addresses and ancillary data from fields in which it then writes their
        # lengths: so before each call the headers are set to this.
        self._unused = bytes(table.headers)
        self._at_a_time = DATAGRAMS
        # Two pieces for each datagram: its header and its payload.
        self._outgoing = Table(_MOST, 2 * _MOST)
        self._segments, self._segments_at = _allocate(_MOST * _SEGMENT.size)
        self._destinations: list[bytes] = []
        # For each message: the number of its first piece, and the number of datagrams before it.
        self._firsts: list[int] = []
        self._before: list[int] = []
        self._pieces = self._added = 0
        # Of the last message: its destination, the length of its datagrams, that of the header in each, and
        # how many more datagrams it can have.
        self._to, self._size, self._header_size, self._room = b"", 0, 0, 0
        self._longest_segment = _LONGEST_SEGMENT if _can_segment() else 0

    def prepare(self, sock: socket) -> None:
        """Have the kernel join datagrams of one sender and one length (UDP_GRO); ``receive`` takes them."""
        try:
            sock.setsockopt(_SOL_UDP, _UDP_GRO, 1)
        except OSError:
            # Linux before 5.0 has no UDP_GRO: then each datagram is received by itself.
            pass

    def receive(self, sock: socket) -> list[Received]:
        """See ``Batch.receive``."""
        table = self._incoming
        # A handler that raised an exception may have added datagrams and not sent them.
        self._clear()
        table.headers[:] = self._unused
        count = self._recvmmsg(sock.fileno(), table.at, self._at_a_time, MSG_DONTWAIT, None)
        if count <= 0:
            # EAGAIN, or the error of a datagram that we sent, which the kernel reports once.
            return []
        lengths = sizes = table.quads[_LENGTH : count * _QUADS : _QUADS].tolist()
        sources = [source for (source,) in _NAMES[sock.family].iter_unpack(table.names[: count * _NAME])]
        controls = table.quads[_CONTROL_LENGTH : count * _QUADS : _QUADS].tolist()
        if any(controls):
            told = self._lengths[_LENGTH_AT : count * _INTS : _INTS].tolist()
            sizes = [
                size if control else length
                for length, control, size in zip(lengths, controls, told, strict=True)
            ]
            self._at_a_time = _GREAT_MESSAGES
        else:
            self._at_a_time = DATAGRAMS
        return list(zip(STARTS, sources, lengths, sizes, strict=False))

    def add(self, start: int, size: int, to: bytes, header: int = 0, header_size: int = 0) -> None:
        """See ``Batch.add``."""
        pieces, first = self._outgoing.pieces, self._pieces
        at = 2 * first
        if header_size:
            pieces[at] = self._base + header
            pieces[at + 1] = header_size
            at += 2
        pieces[at] = self._base + start
        pieces[at + 1] = size
        end = at // 2 + 1
        whole = header_size + size
        if whole == self._size and to is self._to and header_size == self._header_size and self._room:
            self._lengthen(end)
        else:
            self._begin(first, end, 1, whole, to, header_size)

    def add_many(
        self, start: int, step: int, size: int, count: int, to: bytes, header: int = 0, header_size: int = 0
    ) -> None:
        """See ``Batch.add_many``."""
        whole = header_size + size
        if not 0 < whole <= self._longest_segment:
            for at in range(start, start + step * count, step):
                self.add(at, size, to, header, header_size)
            return
        pieces, first = self._outgoing.pieces, self._pieces
        each = 2 if header_size else 1
        at, end = 2 * first, 2 * (first + each * count)
        if header_size:
            pieces[at : end : 2 * each] = array("Q", [self._base + header]) * count
            pieces[at + 1 : end : 2 * each] = array("Q", [header_size]) * count
            at += 2
        begin = self._base + start
        pieces[at : end : 2 * each] = array("Q", range(begin, begin + step * count, step))
        pieces[at + 1 : end : 2 * each] = array("Q", [size]) * count
        most = self._most(whole)
        for done in range(0, count, most):
            number = min(most, count - done)
            at = first + each * done
            self._begin(at, at + each * number, number, whole, to, header_size)

    def _most(self, whole: int) -> int:
        """How many datagrams of ``whole`` bytes, header and payload, the kernel takes as one message."""
        return min(_SEGMENTS, _LONGEST_MESSAGE // whole) if 0 < whole <= self._longest_segment else 1

    def _begin(self, first: int, end: int, number: int, whole: int, to: bytes, header_size: int) -> None:
        """Begin a message of ``number`` datagrams, whose pieces are in the table already."""
        table, message = self._outgoing, len(self._firsts)
        at = message * _NAME
        table.names[at : at + len(to)] = to
        _HEADER.pack_into(
            *(table.headers, message * _HEADER.size, table.names_at + at, len(to)),
            *(table.pieces_at + first * _PIECE.size, end - first, 0, 0, 0, 0),
        )
        self._firsts.append(first)
        self._before.append(self._added)
        self._destinations.append(to)
        self._pieces = end
        self._added += number
        self._to, self._size, self._header_size = to, whole, header_size
        self._room = self._most(whole) - number
        if number > 1:
            self._cut(message)

    def _lengthen(self, end: int) -> None:
        """Add a datagram, whose pieces are in the table already, to the last message."""
        message = len(self._firsts) - 1
        self._outgoing.quads[message * _QUADS + _PIECE_COUNT] = end - self._firsts[message]
        self._pieces = end
        self._added += 1
        self._room -= 1
        if self._added - self._before[message] == 2:
            self._cut(message)

    def _cut(self, message: int) -> None:
        """Have the kernel cut the message of this number into its datagrams (UDP_SEGMENT)."""
        quads, header, at = self._outgoing.quads, message * _QUADS, message * _SEGMENT.size
        _SEGMENT.pack_into(self._segments, at, _SEGMENT_LENGTH, _SOL_UDP, _UDP_SEGMENT, self._size)
        quads[header + _CONTROL] = self._segments_at + at
        quads[header + _CONTROL_LENGTH] = _SEGMENT.size

    def send(self, sock: socket, alone: Alone) -> tuple[int, int]:
        """See ``Batch.send``."""
        table, messages = self._outgoing, len(self._firsts)
        firsts, before = [*self._firsts, self._pieces], [*self._before, self._added]
        done = datagrams = total = 0
        while done < messages:
            at = table.at + done * _HEADER.size
            count = self._sendmmsg(sock.fileno(), at, messages - done, MSG_DONTWAIT)
            if count > 0:
                total += sum(table.pieces[2 * firsts[done] + 1 : 2 * firsts[done + count] : 2])
                datagrams += before[done + count] - before[done]
                done += count
            else:
                # Either the error of an earlier datagram, which the kernel reports once; or these datagrams
                # are longer than the MTU of the path. Each is tried again by itself.
                number = before[done + 1] - before[done]
                if self._errno() == errno.EIO and number > 1:
                    # The network interface leaves checksums to the kernel, which then cuts no messages.
                    self._longest_segment = 0
                to, each = self._destinations[done], (firsts[done + 1] - firsts[done]) // number
                for first in range(firsts[done], firsts[done + 1], each):
                    alone(self._join(first, first + each), to)
                done += 1
        self._clear()
        return datagrams, total

    def _join(self, first: int, end: int) -> bytes:
        """The bytes of the pieces from the number ``first`` on, without that of ``end``."""
        pieces, base = self._outgoing.pieces, self._base
        parts = [(pieces[2 * piece] - base, pieces[2 * piece + 1]) for piece in range(first, end)]
        return b"".join(self.memory[start : start + size] for start, size in parts)

    def _clear(self) -> None:
        if self._added:
            self._pieces = self._added = 0
            self._firsts.clear()
            self._before.clear()
            self._destinations.clear()
        self._room = 0


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
