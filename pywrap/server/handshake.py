"""A client's handshake, fed with bytes as they come, however they are cut or joined.

Clients that know the server's answers beforehand send everything at once, slow ones a byte
at a time. Bytes after the request are the client's first data for its destination.
"""

from __future__ import annotations

from pywrap.errors import ProxyClosed
from pywrap.socks.wire import Later, Recv, Send, Wrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pywrap.relay.wrapped import Codec
    from pywrap.socks.serve import Request
    from pywrap.socks.wire import Dialogue


class Handshake:
    """Runs ``dialogue``; ``send`` must take every message whole.

    While ``is_waiting`` for the check of a password, the dialogue does not go on. With the result,
    ``resumed`` is called, which has to call ``feed`` again, with b"" at least. ``wrap(codec, early)`` has to
    pass all further bytes through ``codec``; ``early``: those that have come already.
    """

    __slots__ = (
        "_answer", "_dialogue", "_received", "_resumed", "_send", "_step", "_wrap", "begun",
        "is_waiting",
    )  # fmt: skip

    def __init__(
        self,
        dialogue: Dialogue[Request],
        send: Callable[[bytes], None],
        resumed: Callable[[], None] | None = None,
        wrap: Callable[[Codec, bytes], None] | None = None,
    ) -> None:
        self._wrap = wrap
        self._resumed = resumed
        self._answer: bool | None = None
        self.is_waiting = False
        self._dialogue = dialogue
        self._send = send
        self._received = b""
        self._step: Send | Recv = next(dialogue)
        self.begun = False

    def feed(self, data: bytes) -> Request | None:
        """Go on with ``data``; return the request once it is complete.

        Raises:
            SocksError: the client was refused; the dialogue has sent its refusal, if the protocol has one.
        """
        self.begun = self.begun or bool(data)
        received, at = self._received + data, 0
        dialogue, step = self._dialogue, self._step
        try:
            while True:
                # The most common step first: this runs some six times for each client.
                if type(step) is Recv:
                    end = at + step
                    if len(received) < end:
                        return None
                    piece, at = received[at:end], end
                    step = dialogue.send(piece)
                elif isinstance(step, Send):
                    self._send(step)
                    step = dialogue.send(b"")
                elif isinstance(step, Wrap):
                    early, received, at = received[at:], b"", 0
                    assert self._wrap is not None, "the server has one"
                    self._wrap(step.codec, early)
                    step = dialogue.send(b"")
                else:
                    assert isinstance(step, Later), "no dialogue of the server asks for more"
                    if self._answer is None:
                        if not self.is_waiting:
                            self.is_waiting = True
                            step.start(self._resume)
                        return None
                    answer, self._answer = self._answer, None
                    step = dialogue.send(b"\1" if answer else b"")
        except StopIteration as stop:
            request: Request = stop.value
            return request
        finally:
            self._received, self._step = received[at:], step

    def _resume(self, answer: bool) -> None:
        if self._resumed is not None:
            self.is_waiting = False
            self._answer = answer
            self._resumed()

    def drop(self) -> None:
        """End the handshake: the result that it waits for will be ignored."""
        self._resumed = None

    def hung_up(self) -> NoReturn:
        """Handle that the client has ended its direction before the request was complete.

        Raises:
            SocksError: always, with the text of the dialogue.
        """
        self._dialogue.throw(ProxyClosed("the client hung up before its request was complete"))
        raise AssertionError("a dialogue cannot go on without its bytes")

    @property
    def rest(self) -> bytes:
        """The bytes that came after the request."""
        return self._received
