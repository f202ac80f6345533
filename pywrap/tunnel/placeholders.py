"""Placeholder addresses for names that only the last proxy resolves, and the few names known here.

A program that asks for example.org gets an address of a network that it needs for nothing else, by default
198.18.0.0/15, or of an IPv6 prefix of our own when it wants nothing else. At connect() it becomes the name
again.

An address that was given for a name means that name for ever, or nothing: a program that keeps it until the
network is full must not reach another host. So no address is given twice, and a full network is full: who
takes IPv6 gets addresses of that, of which there is no end, and who does not gets an error.

Whether an address is a placeholder is decided by what gave it: one of this network that stands in /etc/hosts
or a proxy's URL, or that the local resolver tells, is an address like any other. Clash and sing-box resolve
every name to an address of 198.18.0.0/15.
"""

from __future__ import annotations

import _socket
import os
from _socket import EAI_FAIL, EAI_MEMORY

from pywrap.config.settings import PLACEHOLDERS
from pywrap.socks.wire import packed, unpacked
from pywrap.tunnel.name_list import NameList
from pywrap.tunnel.resolver import LookupFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Of stat.h: the module ``stat`` is another import.
_S_IFMT = 0o170000
_S_IFREG = 0o100000

# A unique local prefix (RFC 4193) whose 40 bits spell "socks"; the IPv4 placeholder stands at the end.
PREFIX_6 = b"\xfdsocks" + bytes(6)

# IPv6 placeholders beyond the network that one process remembers: of the oldest, nothing is known any more.
MOST_BEYOND = 1 << 17

# How many addresses in a row are left alone because something else has them.
_MOST_TAKEN = 256


class Placeholders:
    """The names that were asked for, each with its placeholder, which is of ``network``.

    ``path``: of the file that the processes of a run share (``name_list``), or "". ``allocate_lock`` as in
    ``_thread``. ``is_real``: is an address, of this network, one that something other than this class has
    given? It may be set later.
    """

    def __init__(self, allocate_lock: Callable[[], Any], network: str = PLACEHOLDERS, path: str = "") -> None:
        self._lock = allocate_lock()
        self._network = network
        address, _, length = network.partition("/")
        # Without the first and the last, as for any network.
        self._first = int.from_bytes(packed(address) or b"", "big") + 1
        self._size = (1 << 32 - int(length)) - 2
        self._list = NameList(path, self._size)
        self.is_real: Callable[[bytes], bool] = lambda address: False
        # The numbers that this process has given to its program, or the one that it was forked from.
        self._given: set[int] = set()
        # Addresses that the local resolver has given (``claim``).
        self._claimed: set[bytes] = set()
        self._beyond = _Beyond()

    @property
    def unknown(self) -> str:
        """An address for a name that can have none: nothing is ever reached there."""
        return unpacked((self._first - 1).to_bytes(4, "big"))

    def placeholder(self, name: str, ipv6: bool | None = None) -> str:
        """The address that stands for ``name``, always the same: IPv4, or IPv6 if ``ipv6``.

        None is either: IPv4 while there are any.

        Raises:
            LookupFailed: there are none left.
        """
        with self._lock:
            number = self._list.number_of(name)
            # A machine can have whole networks as its own (AnyIP): this one is then said to be for names.
            for _ in range(_MOST_TAKEN):
                if number is None or not self._is_taken(number):
                    break
                number = self._list.next_after(name)
            if number is not None:
                self._given.add(number)
                address = self._address(number)
                return unpacked(PREFIX_6 + address if ipv6 else address)
            if ipv6 is not False:
                return unpacked(self._beyond.address_of(name))
        words = f"each of the {self._size} addresses of {self._network} stands for a name (--placeholders)"
        raise LookupFailed(words, EAI_MEMORY)

    def name_of(self, address: bytes) -> str | None:
        """The name behind a placeholder; "" when it looks like one and stands for no name; else None."""
        if len(address) == 16:
            if address[:6] != PREFIX_6[:6]:
                return None
            if address[:12] != PREFIX_6:
                return self._beyond.name_of(address)
            address = address[12:]
            number = int.from_bytes(address, "big") - self._first
            return self._list.name_of(number) if 0 <= number < self._size else ""
        number = int.from_bytes(address, "big") - self._first
        if not -1 <= number < self._size:
            return None
        if number not in self._given and (address in self._claimed or self.is_real(address)):
            return None
        return self._list.name_of(number) if number >= 0 else ""

    def claim(self, name: str, address: bytes) -> None:
        """The local resolver has given ``address`` for ``name``: from now on it is no placeholder.

        Raises:
            LookupFailed: it stands for another name already.
        """
        number = int.from_bytes(address, "big") - self._first
        if len(address) != 4 or not 0 <= number < self._size:
            return
        with self._lock:
            if number in self._given:
                words = f"{name} is at {unpacked(address)}, which stands for {self._list.name_of(number)}"
                raise LookupFailed(f"{words}: choose another network with --placeholders", EAI_FAIL)
            self._claimed.add(address)

    def _is_taken(self, number: int) -> bool:
        if number in self._given:
            return False
        address = self._address(number)
        return address in self._claimed or self.is_real(address)

    def _address(self, number: int) -> bytes:
        return (self._first + number).to_bytes(4, "big")

    def share(self) -> None:
        """Before a fork(): parent and child go on with one list."""
        with self._lock:
            self._list.share()

    def forked(self, allocate_lock: Callable[[], Any]) -> None:
        """In a child after fork(), where the lock's holder may not exist."""
        self._lock = allocate_lock()
        self._beyond = self._beyond.forked()


class _Beyond:
    """IPv6 addresses for names that the network has no address for, as many as it takes.

    They are of a subnet that no other process has, by its random number. What is forgotten is never given
    again, so it leads nowhere.
    """

    def __init__(self) -> None:
        self._prefix = PREFIX_6[:6] + b"\1" + os.urandom(5)
        self._count = 0
        self._address: dict[str, bytes] = {}
        self._name: dict[bytes, str] = {}

    def address_of(self, name: str) -> bytes:
        address = self._address.pop(name, None)
        if address is None:
            self._count += 1
            address = self._prefix + self._count.to_bytes(4, "big")
            self._name[address] = name
        # At the end again: what was asked for last is forgotten last.
        self._address[name] = address
        if len(self._address) > MOST_BEYOND:
            # Half of them at once, as a copy costs.
            for old in list(self._address)[: MOST_BEYOND // 2]:
                self._name.pop(self._address.pop(old), None)
        return address

    def name_of(self, address: bytes) -> str:
        return self._name.get(address, "")

    def forked(self) -> _Beyond:
        """One that knows the same names, and goes on in a subnet of its own."""
        fresh = _Beyond()
        fresh._address, fresh._name = self._address, self._name
        return fresh


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
