"""Placeholders in a confinement: those of its name server, which all programs inside share.

A patched program would give out its own, and a library in C or a child that gets one would connect to what it
means for the broker: some other name. So the broker is asked by DNS, as every program inside asks for a name.
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

# Names to remember: a crawler asks for any number.
MOST = 1 << 16

# The name server tells of no such name outside (RFC 6761 section 6.4): it is asked whether an address, in
# hexadecimal digits, is one of the machine's own, and answers with one of the two.
_OWN = ".own.pysocksify.invalid"
OWN, NOT_OWN = b"\x7f\0\0\1", bytes(4)
# Addresses come and go with interfaces; seconds for which an answer holds.
_OWN_HOLDS = 10.0


def is_confined() -> bool:
    """Is this process in the confinement that its environment names? The variable alone proves nothing."""
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
    """``getaddrinfo`` and ``getnameinfo`` are the C library's, which asks the broker."""

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
        # Until when it holds, and whether the address is the machine's own.
        self._own: dict[bytes, tuple[float, bool]] = {}

    def is_own(self, address: bytes) -> bool:
        """Is ``address``, of 4 or 16 bytes, one of the interfaces of the machine outside?

        A connection there is left to the broker, which asks the kernel at that moment.
        """
        until, own = self._own.get(address, (0.0, False))
        now = monotonic()
        if now >= until:
            try:
                rows = self._getaddrinfo(address.hex() + _OWN, None, AF_INET, SOCK_STREAM)
            except OSError:
                # The broker has ended: so has the network.
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
            # So that ``name_of`` need not ask whether it is a real address.
            self._given.add(int.from_bytes(address, "big") - self._first)
        return unpacked(PREFIX_6 + address if ipv6 else address)

    def share(self) -> None:
        """Before a fork(): the broker has the only list."""

    def name_of(self, address: bytes) -> str | None:
        """As ``Placeholders.name_of``, also of what another program got."""
        if super().name_of(address) is None:
            # No placeholder: as always, without a question to the broker.
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
