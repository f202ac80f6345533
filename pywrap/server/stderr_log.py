"""The log of the server on stderr, a line for each event, as text or as JSON; never with a password.

A line that stderr does not take at once is dropped and counted (``lines``).
"""

from __future__ import annotations

from time import time

from pywrap.errors import counted
from pywrap.server.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pywrap.server.record import Record, Traffic
    from pywrap.socks.wire import Endpoint


class Log:
    """``verbosity``: -1 for warnings only, 0 for a line for each request, 1 for one at its end too.

    In JSON a line is an object: ``time`` (RFC 3339, UTC), ``event`` (listening, request, arrived, closed,
    trouble, note, warning, connection), ``message``, and for events about a request its fields.
    """

    def __init__(self, verbosity: int, json: bool = False) -> None:
        self.verbosity = verbosity
        self._json = json
        self._lines = Lines(2, self._lost)

    def tell_when_writable(self, when_writable: Callable[[int, Callable[[], None]], None]) -> None:
        """Have the count of dropped lines written as soon as there is room, not only before the next line."""
        self._lines.when_writable = when_writable

    def close(self) -> None:
        """Write the rest of a line, if that is possible without waiting."""
        self._lines.close()

    def note(self, words: str) -> None:
        """Write that something happened to the server; not with --quiet."""
        if self.verbosity >= 0:
            self._say("note", words)

    def listening(self, address: Endpoint) -> None:
        """Write an address at which clients are accepted."""
        self._say("listening", f"listening on {address}", host=address.host, port=address.port)

    def warning(self, words: str) -> None:
        """Write about something that the user should change."""
        self._say("warning", f"warning: {words}")

    def trouble(self, words: str) -> None:
        """Write about a failure that is over, or is tried again; not with --quiet."""
        if self.verbosity >= 0:
            self._say("trouble", words)

    def record(self, record: Record) -> None:
        """Write the outcome of a request; not with --quiet."""
        if self.verbosity >= 0:
            words = f"{_request(record)}: {record.outcome or _success(record)}"
            self._say("request", words, **_fields(record))

    def arrived(self, record: Record) -> None:
        """Write that the peer of a BIND has connected, or has not; not with --quiet."""
        if self.verbosity >= 0:
            words = f"{_request(record)}: {record.outcome or f'connected from {record.answer}'}"
            self._say("arrived", words, **_fields(record))

    def closed(self, record: Record, up: int, down: int, seconds: float) -> None:
        """Write that a connection has ended, after ``seconds``, with its bytes; with --verbose."""
        if self.verbosity >= 1:
            words = f"{_request(record)}: closed after {seconds:.1f} s, {_bytes(up)} up, {_bytes(down)} down"
            numbers = {"seconds": round(seconds, 3), "bytes_up": up, "bytes_down": down}
            self._say("closed", words, **_fields(record), **numbers)

    def udp_closed(self, record: Record, traffic: Traffic, seconds: float) -> None:
        """Write that an association has ended, after ``seconds``; with --verbose."""
        if self.verbosity >= 1:
            words = f"{_request(record)}: closed after {seconds:.1f} s, {_traffic(traffic)}"
            numbers = {
                "seconds": round(seconds, 3),
                "bytes_up": traffic.bytes_up,
                "bytes_down": traffic.bytes_down,
                "datagrams_up": traffic.up,
                "datagrams_down": traffic.down,
                "dropped": traffic.dropped,
            }
            self._say("closed", words, **_fields(record), **numbers)

    def connections(self, connections: list[tuple[Endpoint, Record | None, float, int]]) -> None:
        """Write a line for each connection: client, request if complete, seconds, and bytes or datagrams."""
        self._say("note", f"{counted(len(connections), 'connection')} now", connections=len(connections))
        for client, record, seconds, moved in connections:
            if record is None:
                self._say("connection", f"  {client}: no complete request yet", client=str(client))
                continue
            what = "datagram" if record.command == "UDP ASSOCIATE" else "byte"
            words = f"  {_request(record)}: {seconds:.0f} s, {counted(max(moved, 0), what)}"
            self._say("connection", words, **_fields(record), seconds=round(seconds, 3), moved=max(moved, 0))

    def _say(self, event: str, line: str, **fields: Any) -> None:
        self._lines.write(self._encoded(event, line, fields))

    def _encoded(self, event: str, line: str, fields: dict[str, Any]) -> bytes:
        if self._json:
            # Imported here: most servers write text.
            from json import dumps

            line = dumps({"time": _now(), "event": event, "message": line.strip(), **fields})
            return f"{line}\n".encode()
        return f"pysocksd: {line}\n".encode("utf-8", "backslashreplace")

    def _lost(self, count: int) -> bytes:
        words = f"warning: {counted(count, 'line')} dropped here, since nothing read them"
        return self._encoded("warning", words, {"dropped_lines": count})


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _fields(record: Record) -> dict[str, Any]:
    return {
        "client": str(record.client),
        "user": record.user,
        "version": record.version,
        "command": record.command,
        "host": record.host,
        "port": record.port,
        "outcome": record.outcome or "succeeded",
        "answer": None if record.answer is None else str(record.answer),
    }


def _request(record: Record) -> str:
    user = f" {_word(record.user)}" if record.user else ""
    where = type(record.client)(_word(record.host), record.port)
    return f"{record.client}{user} SOCKS{record.version} {record.command} {where}"


def _traffic(traffic: Traffic) -> str:
    parts = [
        f"datagrams: {traffic.up} up ({_bytes(traffic.bytes_up)})",
        f"{traffic.down} down ({_bytes(traffic.bytes_down)})",
    ]
    if traffic.dropped:
        dropped = [f"{count} {why}" for why, count in traffic.dropped.items()]
        parts.append(f"dropped: {', '.join(dropped)}")
    return ", ".join(parts)


def _bytes(number: int) -> str:
    return counted(number, "byte")


def _success(record: Record) -> str:
    if record.answer is None:
        return "connected"
    return f"listening on {record.answer}" if record.command == "BIND" else _word(record.answer.host)


def _word(text: str) -> str:
    """``text``, which comes from a client, escaped so that it cannot forge a line or a part of one."""
    return "".join(c if c.isprintable() and c != " " else f"\\x{ord(c):02x}" for c in text)
