"""Placeholders in a confinement: those of its name server, which all programs inside share.

A patched program would give out its own, and a library in C or a child that gets one would connect to what it
means for the broker: some other name. So the broker is asked by DNS, as every program inside asks for a name.
"""

from __future__ import annotations

import os
from _socket import AF_INET, NI_NAMEREQD, SOCK_STREAM

from pywrap.config.settings_env import CONFINED
from pywrap.socks.wire import packed, unpacked
from pywrap.tunnel.placeholders import PREFIX_6, Placeholders

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Names to remember: a crawler asks for any number.
MOST = 1 << 16


def is_confined() -> bool:
    """Is this process in the confinement that its environment names? The variable alone proves nothing."""
    try:
        return os.environ.get(CONFINED) == os.readlink("/proc/self/ns/net")
    except OSError:
        return False


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
            self._addresses[name], self._names[address] = address, name
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
