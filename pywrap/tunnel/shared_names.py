"""Placeholders in a confinement: those of its name server, which all programs inside share.

If a patched program made placeholders of its own, and passed one to a library in C or to a child, these would
connect to another name: the one that the address stands for at the broker. So the program asks the broker for
each placeholder, by DNS, as every program inside does.
"""

from __future__ import annotations

import os
from _socket import AF_INET, NI_NAMEREQD, SOCK_STREAM
from time import monotonic

from pywrap.config.settings_env import CONFINED
from pywrap.socks.wire import packed, unpacked
from pywrap.tunnel.placeholders import PREFIX_6, Placeholders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# How many names to remember: a crawler asks for any number.
MOST = 1 << 16

# A name below this one, which exists nowhere else (RFC 6761 section 6.4), asks the broker's name server
# whether an address, in hexadecimal digits, is one of the machine's own. These are the two possible answers.
_OWN = ".own.pysocksify.invalid"
OWN, NOT_OWN = b"\x7f\0\0\1", bytes(4)
# Addresses come and go with interfaces; seconds for which an answer holds.
_OWN_HOLDS = 10.0


def is_confined() -> bool:
    """Whether this process is in the confinement that its environment names.

    The variable alone proves nothing: a process may have left the confinement, or inherited the variable.
    """
    try:
        return os.environ.get(CONFINED) == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


def asked_whether_own(name: str) -> bytes | None:
    """The address that a question for ``name`` asks about; None when it is another question."""
    if not name.endswith(_OWN):
        return None
    try:
        address = bytes.fromhex(name.removesuffix(_OWN))
    except ValueError:
        return None
    return address if len(address) in (4, 16) else None


class SharedNames(Placeholders):
    """Placeholders that the broker makes: the unpatched ``getaddrinfo`` and ``getnameinfo`` ask it."""

    def __init__(
        self,
        allocate_lock: Callable[[], Any],
        network: str,
        getaddrinfo: Callable[..., list[Any]],
        getnameinfo: Callable[..., tuple[str, str]],
    ) -> None:
        super().__init__(allocate_lock, network)
        self._getaddrinfo = getaddrinfo
        self._getnameinfo = getnameinfo
        # No lock: single dictionary operations are atomic, and asking twice is harmless.
        self._addresses: dict[str, bytes] = {}
        self._names: dict[bytes, str] = {}
        # By address: until when the answer holds, and whether the address is the machine's own.
        self._own: dict[bytes, tuple[float, bool]] = {}

    def is_own(self, address: bytes) -> bool:
        """Whether ``address``, 4 or 16 bytes, is one of the interfaces of the machine outside.

        A connection to such an address is left to the broker, which asks the kernel at that moment.
        """
        until, own = self._own.get(address, (0.0, False))
        now = monotonic()
        if now >= until:
            try:
                rows = self._getaddrinfo(address.hex() + _OWN, None, AF_INET, SOCK_STREAM)
            except OSError:
                # The broker has ended, and with it all network of this confinement.
                return False
            own = packed(str(rows[0][4][0])) == OWN
            if len(self._own) >= MOST:
                self._own.clear()
            self._own[address] = now + _OWN_HOLDS, own
        return own

    def placeholder(self, name: str, ipv6: bool | None = None) -> str:
        """The address that stands for ``name`` in this confinement.

        Raises:
            socket.gaierror: the broker does not tell, or no host can have that name.
        """
        address = self._addresses.get(name)
        if address is None:
            rows = self._getaddrinfo(name, None, AF_INET, SOCK_STREAM)
            address = packed(str(rows[0][4][0])) or b""
            if len(self._addresses) >= MOST:
                self._addresses.clear()
                self._names.clear()
                self._given.clear()
            self._addresses[name], self._names[address] = address, name
            # Noted here, so that ``name_of`` need not ask the broker whether it is a real address.
            self._given.add(int.from_bytes(address, "big") - self._first)
        return unpacked(PREFIX_6 + address if ipv6 else address)

    def share(self) -> None:
        """Before a fork(): nothing to do, since the broker has the only list of names."""

    def name_of(self, address: bytes) -> str | None:
        """As ``Placeholders.name_of``, also for placeholders that another program got."""
        if super().name_of(address) is None:
            # Outside the placeholders' network: no need to ask the broker.
            return None
        address = address[-4:]
        name = self._names.get(address)
        if name is None:
            try:
                name = self._getnameinfo((unpacked(address), 0), NI_NAMEREQD)[0]
            except OSError:
                return ""
            self._names[address] = name
        return name
