"""The reference server in a thread, for any test that needs a SOCKS server.

It records: ``server.seen`` proves what a client asked for, and so also what it did not
resolve by itself.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition, Thread
from typing import Any
from urllib.parse import quote

from pywrap.frozen import replace
from pywrap.server.limits import Limits
from pywrap.server.record import Record, Traffic
from pywrap.server.server import Server

# For what must happen soon, and would hang the test otherwise.
PATIENCE = 30.0

# Of ``Limits``, short: ``reference_server(connect_timeout=...)``.
TIMES = ("handshake", "connect", "bind", "idle")


class Running:
    """A server that is serving: where it is, and what it has seen."""

    def __init__(self, **kw: Any) -> None:
        self._changed = Condition()
        self._seen: list[Record] = []
        self._arrived: list[Record] = []
        self._closed: list[tuple[Record, int, int, float]] = []
        self._troubles: list[str] = []
        self._udp_peers: list[tuple[str, int]] = []
        self._udp_closed: list[tuple[Record, Traffic, float]] = []
        kw.setdefault("listen", [("127.0.0.1", 0)])
        times = {name: kw.pop(f"{name}_timeout") for name in TIMES if f"{name}_timeout" in kw}
        kw["limits"] = replace(kw.get("limits", Limits()), **times)
        self.server = Server(
            record=lambda record: self._note(self._seen, record),
            arrived=lambda record: self._note(self._arrived, record),
            closed=lambda *end: self._note(self._closed, end),
            trouble=lambda line: self._note(self._troubles, line),
            udp_peer=lambda _, peer: self._note(self._udp_peers, (peer.host, peer.port)),
            udp_closed=lambda *end: self._note(self._udp_closed, end),
            **kw,
        )
        self.host = self.server.addresses[0].host
        self.port = self.server.addresses[0].port
        self.address = (self.host, self.port)

    def url(self, user: str | None = None, password: str | None = None, scheme: str = "socks5h") -> str:
        """What curl, requests or ``pysocksify -x`` take."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        login = "" if user is None else quote(user, "") + ":" + quote(password or "", "") + "@"
        return f"{scheme}://{login}{host}:{self.port}"

    @property
    def seen(self) -> list[Record]:
        """The requests so far. A client that was answered is in it."""
        with self._changed:
            return list(self._seen)

    @property
    def asked(self) -> list[tuple[str, str, int]]:
        """``seen``, as (command, host, port)."""
        return [(record.command, record.host, record.port) for record in self.seen]

    @property
    def troubles(self) -> list[str]:
        """What was said about clients that never came to a request."""
        with self._changed:
            return list(self._troubles)

    @property
    def udp_peers(self) -> list[tuple[str, int]]:
        """Where datagrams were sent to, as the client called it. Who was answered is in it."""
        with self._changed:
            return list(self._udp_peers)

    def wait_for_seen(self, count: int) -> list[Record]:
        """``seen`` once there are ``count`` of them: for clients that do not wait for an answer."""
        return self._wait_for(self._seen, count)

    def wait_for_arrived(self, count: int) -> list[Record]:
        """The BINDs that were met or given up, once there are ``count`` of them."""
        return self._wait_for(self._arrived, count)

    def wait_for_closed(self, count: int) -> list[tuple[Record, int, int, float]]:
        """(record, bytes up, bytes down, seconds) of the tunnels that ended, once there are ``count``."""
        return self._wait_for(self._closed, count)

    def wait_for_troubles(self, count: int) -> list[str]:
        return self._wait_for(self._troubles, count)

    def wait_for_udp_peers(self, count: int) -> list[tuple[str, int]]:
        return self._wait_for(self._udp_peers, count)

    def wait_for_udp_closed(self, count: int) -> list[tuple[Record, Traffic, float]]:
        """(record, traffic, seconds) of the associations that ended, once there are ``count``."""
        return self._wait_for(self._udp_closed, count)

    def _note(self, notes: list[Any], note: Any) -> None:
        with self._changed:
            notes.append(note)
            self._changed.notify_all()

    def _wait_for(self, notes: list[Any], count: int) -> list[Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(notes) >= count, PATIENCE), notes
            return list(notes)


@contextmanager
def reference_server(**kw: Any) -> Iterator[Running]:
    """A server on a free port of 127.0.0.1; arguments are those of ``Server``."""
    running = Running(**kw)
    thread = Thread(target=running.server.run, name="reference server")
    thread.start()
    try:
        yield running
    finally:
        running.server.stop()
        thread.join()
        running.server.close()
