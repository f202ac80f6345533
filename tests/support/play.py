"""Runs dialogues: over bytes (``play``, ``refused``, ``converse``), or on a socket (``hold``)."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pywrap.errors import ProxyClosed, SocksError
from pywrap.socks.wire import Recv, Send

if TYPE_CHECKING:
    from pywrap.socks.wire import Dialogue


class Played(NamedTuple):
    result: Any  # what the dialogue returned, or the exception that ended it
    sent: list[bytes]  # an item for each message
    rest: bytes  # what arrived and was left


class Party:
    """One end of a conversation: a dialogue, and the bytes that have arrived for it."""

    def __init__(self, dialogue: Dialogue[Any]) -> None:
        self.dialogue = dialogue
        self.result: Any = None
        self.done = False
        self.sent: list[bytes] = []
        self.rest = b""
        self._wanted: int | None = None

    def hear(self, data: bytes) -> None:
        """Let ``data`` arrive; the first call starts the dialogue, so it may be empty."""
        self.rest += data
        if self._wanted is None:
            self._follow(None)
        while not self.done and len(self.rest) >= self._wanted:
            answer, self.rest = self.rest[: self._wanted], self.rest[self._wanted :]
            self._follow(answer)

    def hang_up(self) -> None:
        """Say that nothing more will arrive."""
        if not self.done:
            self.dialogue.throw(ProxyClosed("hung up"))
            raise AssertionError("the dialogue goes on after its other end hung up")

    def _follow(self, answer: bytes | None) -> None:
        try:
            while isinstance(step := self.dialogue.send(answer), Send):
                self.sent.append(bytes(step))
                answer = b""
        except StopIteration as stop:
            self.done, self.result = True, stop.value
        else:
            # Whoever runs it would take an empty recv() for the end of the connection.
            assert isinstance(step, Recv) and step > 0
            self._wanted = step


def play(dialogue: Dialogue[Any], received: bytes) -> Played:
    """Run ``dialogue`` with an other end that says ``received`` and hangs up."""
    party = Party(dialogue)
    party.hear(received)
    party.hang_up()
    return Played(party.result, party.sent, party.rest)


def refused(expected: type[SocksError], dialogue: Dialogue[Any], received: bytes) -> Played:
    """Run ``dialogue`` likewise, up to an exception that is an ``expected`` and not only a subclass."""
    party = Party(dialogue)
    with pytest.raises(expected) as caught:
        party.hear(received)
        party.hang_up()
    assert caught.type is expected
    return Played(caught.value, party.sent, party.rest)


def converse(client: Dialogue[Any], server: Dialogue[Any], piece: int = 1 << 16) -> tuple[Any, Any]:
    """Run two dialogues against each other, ``piece`` bytes at a time; return both results."""
    ends = Party(client), Party(server)
    for end in ends:
        end.hear(b"")
    heard = [0, 0]
    while not all(end.done for end in ends):
        before = list(heard)
        for me, other in ((0, 1), (1, 0)):
            said = b"".join(ends[other].sent)[heard[me] :][:piece]
            heard[me] += len(said)
            ends[me].hear(said)
        assert heard != before, "each end waits for the other"
    # Nothing was said that was not read.
    assert [end.rest for end in ends] == [b"", b""]
    return ends[0].result, ends[1].result


def hold(dialogue: Dialogue[Any], sock: socket.socket) -> Any:
    """Run ``dialogue`` on a blocking socket, as wire.py asks of a driver, and nothing else."""
    answer = None
    try:
        while True:
            step = dialogue.send(answer)
            if isinstance(step, Send):
                sock.sendall(step)
                answer = b""
            else:
                answer = sock.recv(step, socket.MSG_WAITALL)
                if len(answer) < step:
                    dialogue.throw(ProxyClosed("hung up"))
    except StopIteration as stop:
        return stop.value


def echoes(sock: socket.socket) -> bool:
    """Whether what is at the other end of ``sock`` echoes."""
    sock.sendall(b"are you there")
    return sock.recv(len(b"are you there"), socket.MSG_WAITALL) == b"are you there"
