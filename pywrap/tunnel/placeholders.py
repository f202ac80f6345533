"""Placeholder addresses for names that only the last proxy resolves, and the few names known here.

A program that looks up example.org gets a placeholder: an address of a network that it needs for nothing
else, by default 198.18.0.0/15, or of an IPv6 prefix of our own if it accepts IPv6 only. connect() turns the
placeholder into the name again.

A placeholder means its name for ever, or nothing: a program that keeps it until the network is full must not
reach another host. So no address is used for two names. When the network is full, a program that accepts
IPv6 gets addresses of the IPv6 prefix, which does not run out; a program that does not gets an error.

An address of the network is a placeholder only if this module returned it. One that stands in /etc/hosts or
in a proxy's URL, or that the local resolver returns, is an address like any other: Clash and sing-box resolve
every name to an address of 198.18.0.0/15.
"""

from __future__ import annotations

import _socket
import os
from _socket import EAI_FAIL, EAI_MEMORY

from pywrap.config.settings import PLACEHOLDERS
from pywrap.socks.wire import packed, unpacked
from pywrap.tunnel.lookups import LookupFailed
from pywrap.tunnel.name_list import NameList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# As in stat.h: importing the module ``stat`` costs time.
_S_IFMT = 0o170000
_S_IFREG = 0o100000

# A unique local prefix (RFC 4193) with "socks" as its 40 bits; the last 4 bytes are the IPv4 placeholder.
PREFIX_6 = b"\xfdsocks" + bytes(6)

# How many IPv6 placeholders beyond the network one process remembers; after that it forgets the oldest.
MOST_BEYOND = 1 << 17

# How many addresses in a row may be skipped because they are real ones.
_MOST_TAKEN = 256


class Placeholders:
    """The names that were looked up, each with its placeholder in ``network`` (IPv4, ADDRESS/LENGTH).

    ``allocate_lock``: as in ``_thread``. ``path``: of the file that the processes of a run share
    (``name_list``), or "". ``is_real(address)``, which may be set later: whether an address of the network,
    as 4 bytes, is also in use as a real one.
    """

    def __init__(self, allocate_lock: Callable[[], Any], network: str = PLACEHOLDERS, path: str = "") -> None:
        self._lock = allocate_lock()
        self._network = network
        address, _, length = network.partition("/")
        # Without the first and the last address, which no host of a network has.
        self._first = int.from_bytes(packed(address) or b"", "big") + 1
        self._size = (1 << 32 - int(length)) - 2
        self._list = NameList(path, self._size)
        self.is_real: Callable[[bytes], bool] = lambda address: False
        # The numbers whose placeholders this process, or the one that it was forked from, has returned.
        self._given: set[int] = set()
        # Addresses that the local resolver has returned (``claim``).
        self._claimed: set[bytes] = set()
        self._beyond = _Beyond()

    @property
    def unknown(self) -> str:
        """The literal of an address of the network that never has a name: connections to it are refused."""
        return unpacked((self._first - 1).to_bytes(4, "big"))

    def placeholder(self, name: str, ipv6: bool | None = None) -> str:
        """The literal that stands for ``name``, always the same.

        ``ipv6``: True for IPv6, False for IPv4, None for either, which is IPv4 until the network is full.

        Raises:
            LookupFailed: none is left (EAI_MEMORY).
        """
        with self._lock:
            number = self._list.number_of(name)
            # Bounded: with AnyIP (a route of type "local") the machine may own the whole network, so that no
            # address of it is free.
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
        """The name of a placeholder, of 4 or 16 bytes; "" for one that stands for no name.

        None: the address is of neither network, or is a real one.
        """
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
        """Note that the local resolver has returned ``address`` for ``name``, so it becomes no placeholder.

        Raises:
            LookupFailed: it is a placeholder of another name already (EAI_FAIL).
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

    @property
    def shared_path(self) -> str:
        """The path of the file with the list of names; "" when this process alone has the list."""
        return self._list.path

    def share(self) -> None:
        """Before a fork(): make parent and child share one list of names."""
        with self._lock:
            self._list.share()

    def forked(self, allocate_lock: Callable[[], Any]) -> None:
        """In a child after fork(): replace the lock, which a thread of the parent may have held."""
        self._lock = allocate_lock()
        self._beyond = self._beyond.forked()


class _Beyond:
    """IPv6 placeholders for names when the IPv4 network is full.

    They are of a subnet with a random number, which no other process has. An address that was forgotten is
    not used again: connections to it are refused.
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
        # Moved to the end: the names that were looked up last are forgotten last.
        self._address[name] = address
        if len(self._address) > MOST_BEYOND:
            # Half of them at once: making the list for each new name would be slow.
            for old in list(self._address)[: MOST_BEYOND // 2]:
                self._name.pop(self._address.pop(old), None)
        return address

    def name_of(self, address: bytes) -> str:
        return self._name.get(address, "")

    def forked(self) -> _Beyond:
        """For the child of a fork(): the same names so far, and a subnet of its own for new ones."""
        fresh = _Beyond()
        fresh._address, fresh._name = self._address, self._name
        return fresh


class Hosts:
    """The names that need no resolver: those of /etc/hosts, localhost and this machine's own."""

    def __init__(self, path: str = "/etc/hosts") -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        # How often the file was read, or this machine renamed.
        self._version = 0
        self._own_name = ""
        self._addresses: dict[str, list[str]] = {}
        self._names: dict[bytes, list[str]] = {}
        self._canonical: dict[str, str] = {}

    @property
    def version(self) -> int:
        """A number that changes whenever an answer of this object may change."""
        self._refresh()
        name = os.uname().nodename
        if name != self._own_name:
            self._own_name = name
            self._version += 1
        return self._version

    def addresses(self, name: str) -> list[str]:
        """The addresses of ``name`` as literals, in the order of the file, but ::1 first; [] if unknown."""
        name = name.lower().rstrip(".")
        self._refresh()
        if name in self._addresses:
            return self._addresses[name]
        if name == "localhost" or name.endswith(".localhost"):
            # RFC 6761 section 6.3: no name server is to be asked for these.
            return ["127.0.0.1", "::1"]
        if name == os.uname().nodename.lower():
            # As nss-myhostname answers when the file has no entry.
            return ["127.0.0.1"]
        return []

    def canonical(self, name: str) -> str:
        """The first name on the line of the file that has ``name``; ``name`` where no line has it."""
        self._refresh()
        return self._canonical.get(name.lower().rstrip("."), name)

    def names(self, address: bytes) -> list[str]:
        """The canonical name of a 4- or 16-byte ``address`` and its aliases, from the file."""
        self._refresh()
        return self._names.get(address, [])

    def _refresh(self) -> None:
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                if status.st_mode & _S_IFMT != _S_IFREG:
                    # open() of a FIFO would block.
                    raise OSError
                self._read()
                self._stamp = stamp
                self._version += 1
        except OSError:
            # A file that is missing or cannot be read has no entries, as for the C library.
            self._version += self._stamp is not None
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
            # As glibc sorts them (RFC 6724), whatever the order in the file.
            if "::1" in literals[1:] and _has_loopback_6():
                literals.sort(key=lambda literal: literal != "::1")
        self._addresses, self._names, self._canonical = addresses, names, canonical


def _has_loopback_6() -> bool:
    """Whether this machine has ::1. Where IPv6 is off, glibc sorts unreachable addresses last."""
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
