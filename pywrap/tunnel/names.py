"""Placeholder addresses for names that only the last proxy resolves, and the few names known here.

A program that asks for example.org gets an address of a network that it needs for nothing else, by default
198.18.0.0/15, or of an IPv6 prefix of our own when it wants nothing else. At connect() it becomes the name
again.
"""

from __future__ import annotations

import _socket
import os

from pywrap.config.settings import PLACEHOLDERS
from pywrap.socks.wire import packed, unpacked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Of stat.h: the module ``stat`` is another import.
_S_IFMT = 0o170000
_S_IFREG = 0o100000

# A unique local prefix (RFC 4193) whose 40 bits spell "socks"; the IPv4 placeholder stands at the end.
PREFIX_6 = b"\xfdsocks" + bytes(6)


class Names:
    """The names that were asked for, each with its placeholder, which is of ``network``.

    A full pool gives up what was idle longest: neither asked for nor gone to. ``recycled`` is told how often
    that has happened, at the first time and then once for every size of the pool. ``allocate_lock`` as in
    ``_thread``.
    """

    def __init__(
        self,
        allocate_lock: Callable[[], Any],
        network: str = PLACEHOLDERS,
        recycled: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._lock = allocate_lock()
        address, _, length = network.partition("/")
        # Without the first and the last, as for any network.
        self._first = int.from_bytes(packed(address) or b"", "big") + 1
        self._size = (1 << 32 - int(length)) - 2
        self._recycled = recycled
        self._next = 0
        # Raised whenever a placeholder becomes another name's.
        self.generation = 0
        # In the order in which they were asked for last.
        self._number: dict[str, int] = {}
        self._name: dict[int, str] = {}
        # Those that were gone to since: without the lock, as each connection has to.
        self._used: set[int] = set()

    def placeholder(self, name: str, ipv6: bool = False) -> str:
        """The address that stands for ``name``, the same one while it is in use."""
        recycled = 0
        with self._lock:
            number = self._number.pop(name, None)
            if number is None:
                if self._next < self._size:
                    number = self._next
                    self._next += 1
                else:
                    number = self._recycle()
                    recycled = self.generation
                self._name[number] = name
            self._number[name] = number
        if recycled % self._size == 1:
            self._recycled(recycled)
        address = (self._first + number).to_bytes(4, "big")
        return unpacked(PREFIX_6 + address if ipv6 else address)

    def name_of(self, address: bytes) -> str | None:
        """The name behind a placeholder; "" when it looks like one and is none of ours; else None."""
        if len(address) == 16:
            if address[:12] != PREFIX_6:
                return None
            address = address[12:]
        number = int.from_bytes(address, "big") - self._first
        if not 0 <= number < self._size:
            return None
        name = self._name.get(number, "")
        if name:
            self._used.add(number)
        return name

    def _recycle(self) -> int:
        """Take the number of the name that was idle longest; those that were gone to get a second chance."""
        while True:
            oldest = next(iter(self._number))
            number = self._number.pop(oldest)
            if number not in self._used:
                self.generation += 1
                return number
            self._used.discard(number)
            self._number[oldest] = number

    def forked(self, allocate_lock: Callable[[], Any]) -> None:
        """In a child after fork(), where the lock's holder may not exist."""
        self._lock = allocate_lock()


class Hosts:
    """The names that are answered without asking anybody: /etc/hosts, localhost and this machine."""

    def __init__(self, path: str = "/etc/hosts") -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._addresses: dict[str, list[str]] = {}
        self._names: dict[bytes, list[str]] = {}
        self._canonical: dict[str, str] = {}

    def addresses(self, name: str) -> list[str]:
        """The addresses of ``name`` as literals, in the order of the file, but ::1 in front."""
        name = name.lower().rstrip(".")
        self._refresh()
        if name in self._addresses:
            return self._addresses[name]
        if name == "localhost" or name.endswith(".localhost"):
            # RFC 6761 section 6.3: never asked of a name server.
            return ["127.0.0.1", "::1"]
        if name == os.uname().nodename.lower():
            # As nss-myhostname does where the file is silent. Nobody else can know it better.
            return ["127.0.0.1"]
        return []

    def canonical(self, name: str) -> str:
        """The first name of the line that has ``name``; itself where the file has none."""
        self._refresh()
        return self._canonical.get(name.lower().rstrip("."), name)

    def names(self, address: bytes) -> list[str]:
        """The canonical name of ``address`` and its aliases, from the file."""
        self._refresh()
        return self._names.get(address, [])

    def _refresh(self) -> None:
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                if status.st_mode & _S_IFMT != _S_IFREG:
                    # A FIFO would keep whoever opens it.
                    raise OSError
                self._read()
                self._stamp = stamp
        except OSError:
            # A machine without the file is a machine without entries, as for the C library; and so is one
            # whose file cannot be read.
            self._stamp = None
            self._addresses, self._names, self._canonical = {}, {}, {}

    def _read(self) -> None:
        addresses: dict[str, list[str]] = {}
        names: dict[bytes, list[str]] = {}
        canonical: dict[str, str] = {}
        with open(self._path, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                literal, *known = line.partition("#")[0].split() or [""]
                address = packed(literal.partition("%")[0])
                if address is None:
                    continue
                if known:
                    names.setdefault(address, known)
                for name in known:
                    addresses.setdefault(name.lower(), []).append(literal)
                    canonical.setdefault(name.lower(), known[0])
        for literals in addresses.values():
            # As glibc sorts them (RFC 6724), whatever the order of the file.
            if "::1" in literals[1:] and _has_loopback_6():
                literals.sort(key=lambda literal: literal != "::1")
        self._addresses, self._names, self._canonical = addresses, names, canonical


def _has_loopback_6() -> bool:
    """Does this machine have ::1? Where IPv6 is off, glibc puts what cannot be reached last."""
    try:
        sock = _socket.socket(_socket.AF_INET6, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC)
    except OSError:
        return False
    try:
        sock.bind(("::1", 0))
    except OSError:
        return False
    finally:
        sock.close()
    return True
