"""What the server prints on stderr, a line at a time."""

from __future__ import annotations

from pywrap.errors import counted
from pywrap.server.lines import Lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pywrap.server.record import Record, Traffic
    from pywrap.socks.wire import Endpoint


class Log:
    """``verbosity``: -1 warnings only, 0 a line for each request, 1 one for its end too.

    A line that stderr does not take at once is dropped; ``when_writable`` as for ``Lines``.
    """

    def __init__(self, verbosity: int) -> None:
        self._verbosity = verbosity
        self._lines = Lines(2, _lost)

    def tell_when_writable(self, when_writable: Callable[[int, Callable[[], None]], None]) -> None:
        """Let what was dropped be told as soon as there is room, and not with the next line only."""
        self._lines.when_writable = when_writable

    def listening(self, address: Endpoint) -> None:
        self._say(f"listening on {address}")

    def close(self) -> None:
        self._lines.close()

    def note(self, words: str) -> None:
        if self._verbosity >= 0:
            self._say(words)

    def warning(self, words: str) -> None:
        self._say(f"warning: {words}")

    def record(self, record: Record) -> None:
        if self._verbosity >= 0:
            self._say(f"{_request(record)}: {record.outcome or _success(record)}")

    def arrived(self, record: Record) -> None:
        if self._verbosity >= 0:
            self._say(f"{_request(record)}: {record.outcome or f'connected from {record.answer}'}")

    def closed(self, record: Record, up: int, down: int, seconds: float) -> None:
        if self._verbosity >= 1:
            self._say(
                f"{_request(record)}: closed after {seconds:.1f} s, {_bytes(up)} up, {_bytes(down)} down"
            )

    def udp_closed(self, record: Record, traffic: Traffic, seconds: float) -> None:
        if self._verbosity >= 1:
            self._say(f"{_request(record)}: closed after {seconds:.1f} s, {_traffic(traffic)}")

    def trouble(self, words: str) -> None:
        if self._verbosity >= 0:
            self._say(words)

    def _say(self, line: str) -> None:
        self._lines.write(_encoded(line))


def _encoded(line: str) -> bytes:
    return f"pysocksd: {line}\n".encode("utf-8", "backslashreplace")


def _lost(count: int) -> bytes:
    return _encoded(f"warning: {counted(count, 'line')} dropped here, since nothing read them")


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
    """``text`` such that a client cannot forge a line, or a part of one, with it."""
    return "".join(c if c.isprintable() and c != " " else f"\\x{ord(c):02x}" for c in text)
