"""Pipelining: all messages of a dialogue are sent at once, and then the answers are read.

The messages of a client are known as soon as the answers are assumed. So a dialogue is rehearsed first, with
the answers of a proxy that grants everything, and then run with the real answers; it must send the same
messages again. The dialogue itself is the same as without pipelining.
"""

from __future__ import annotations

from pywrap.errors import ProtocolError, SocksError
from pywrap.socks.wire import Send

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.socks.wire import Dialogue, T


def rehearse(dialogue: Dialogue[object], granting_reply: bytes) -> list[bytes]:
    """The messages that ``dialogue`` sends when the other end answers ``granting_reply``."""
    said: list[bytes] = []
    answer: bytes | None = None
    while True:
        try:
            step = next(dialogue) if answer is None else dialogue.send(answer)
        except StopIteration:
            return said
        if isinstance(step, Send):
            said.append(step)
            answer = b""
        else:
            answer, granting_reply = granting_reply[:step], granting_reply[step:]


def replay(dialogue: Dialogue[T], said: list[bytes], pipelined: bytes = b"") -> Dialogue[T]:
    """Run ``dialogue``, whose messages ``said`` have been sent already.

    ``pipelined``: bytes to send before anything else, which contain these messages and those for other hops;
    b"" when another dialogue has sent them.

    Raises:
        ProtocolError: after answers other than in the rehearsal, ``dialogue`` would send other messages.
    """
    if pipelined:
        yield Send(pipelined)
    remaining = list(said)
    answer: bytes | None = None
    while True:
        try:
            step = next(dialogue) if answer is None else dialogue.send(answer)
        except StopIteration as end:
            if remaining:
                break
            result: T = end.value
            return result
        if isinstance(step, Send):
            if not remaining or remaining.pop(0) != step:
                break
            answer = b""
            continue
        try:
            answer = yield step
        except SocksError as err:
            # The dialogue knows which of its answers was awaited.
            dialogue.throw(err)
            raise AssertionError("no dialogue survives an error") from None
    raise ProtocolError("the proxy wants another conversation than the one that was sent in advance")
