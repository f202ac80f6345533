"""Writes the actions of the broker to the log (``pywrap.log``). Imported only when there is a log.

A patched program in a confinement writes lines of its own. The broker sees its connections to a proxy too, as
direct ones. The field ``client`` in the broker's line of such a connection is ``local`` in the program's
line, which has no count of the bytes.
"""

from __future__ import annotations

from pywrap.confine.dns_message import AAAA, NAME_ERROR, NO_ERROR, PTR, A
from pywrap.errors import SocksError
from pywrap.log.events import BROKER, DIRECT, TUNNEL, Log
from pywrap.socks import dns
from pywrap.socks.wire import unpacked
from pywrap.tunnel.routes import DIRECT as IS_DIRECT
from pywrap.tunnel.routes import REFUSE, address_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable
    from typing import Any

    from pywrap.config.settings import Path, Settings
    from pywrap.confine.askers import Asker
    from pywrap.confine.dns_message import Question
    from pywrap.confine.packets import Syn
    from pywrap.log.events import Begun
    from pywrap.socks.wire import Endpoint
    from pywrap.tunnel.routes import Verdict

_ANSWERED = (A, AAAA, PTR)


class Recorder:
    """``program``: the name of the program in the confinement. ``say``: prints a message for the user."""

    def __init__(self, settings: Settings, program: str, say: Callable[[str], None]) -> None:
        self._log = Log(settings.log, settings.run, BROKER, say, program)

    def begin(self, asker: Asker | None = None) -> Begun:
        """Note a request of a program inside that comes now. ``asker``: its pid and name, None if unknown."""
        begun = self._log.begin()
        begun.asker = asker
        return begun

    def connection(
        self,
        begun: Begun,
        verdict: Verdict,
        syn: Syn,
        sock: socket | None = None,
        error: SocksError | None = None,
    ) -> str:
        """Write that a connection is open on ``sock``, or has failed; return its id."""
        destination = verdict.destination
        is_direct = verdict.kind == IS_DIRECT
        local = remote = None
        if sock is not None:
            local, remote = map(_end, (sock.getsockname, sock.getpeername))
        return self._log.connection(
            begun,
            destination.host,
            destination.port,
            DIRECT if is_direct else TUNNEL,
            name=destination.host if address_of(destination.host) is None else None,
            reason=verdict.reason if is_direct else None,
            chain=None if is_direct else verdict.chain,
            error=error,
            local=local,
            remote=remote,
            client=_endpoint(unpacked(syn.source), syn.port),
        )

    def end(self, number: str, begun: Begun, sent: int, received: int, complete: bool) -> None:
        """Write that the connection with the id ``number`` has ended, and the bytes of the program."""
        self._log.end(number, begun, sent, received, complete)

    def datagrams_end(
        self, number: str, begun: Begun, sent: tuple[int, int], received: tuple[int, int]
    ) -> None:
        """Write that the association with the id ``number`` has ended; pairs of bytes and datagrams."""
        self._log.end(number, begun, sent[0], received[0], None, sent[1], received[1])

    def judged(self, verdict: Verdict, datagram: bool, asker: Asker | None) -> None:
        """Write a line for a ``verdict`` that refuses, or that is about datagrams."""
        host, port = verdict.destination.host, verdict.destination.port
        if verdict.kind == REFUSE:
            protocol = "udp" if datagram else "tcp"
            self._log.refusal(host, port, protocol, verdict.errno, verdict.reason, self.begin(asker))
        elif datagram and verdict.kind == IS_DIRECT:
            self._log.datagrams(host, port, DIRECT, verdict.reason, None, self.begin(asker))
        elif datagram:
            self._log.datagrams(host, port, TUNNEL, None, verdict.chain, self.begin(asker))

    def association(
        self, begun: Begun, path: Path, error: SocksError | None = None, relay: Endpoint | None = None
    ) -> str:
        """Write that an association is open, or has failed; return its id."""
        return self._log.association(begun, path, error, None if relay is None else str(relay))

    def answered(self, begun: Begun, question: Question, how: str, answer: bytes) -> None:
        """Write that the name server has answered ``question``; ``how``: the source of the answer."""
        code = answer[3] & 0xF if len(answer) > 3 else NO_ERROR
        error: SocksError | None = None
        answers: tuple[str, ...] = ()
        if code == NAME_ERROR:
            error = SocksError("no such name (NXDOMAIN)")
        elif code != NO_ERROR:
            error = SocksError(f"no answer (DNS code {code})")
        elif question.kind in _ANSWERED:
            try:
                answers = dns.parse_answer(answer, question.name, question.kind).values
            except SocksError:
                # The name has no address of this family, or the answer is truncated.
                pass
        address = dns.reversed_address(question.name) if question.kind == PTR else None
        name = question.name if address is None else unpacked(address)
        self._log.name(begun, name, how, answers, error, reverse=question.kind == PTR)


def _end(ask: Callable[[], Any]) -> str | None:
    try:
        return _endpoint(*ask()[:2])
    except OSError:
        # The other end has reset it already.
        return None


def _endpoint(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
