"""The states of a socket that listens at a proxy, and the event that leads from each to the next.

``listener`` is in one of the states, and goes on by ``self._state = states.ASK[self._state]``. In LISTENING
and ARRIVED the control connection is on the program's descriptor, in all others a placeholder
(``tcp.placeholder_socket``).

              ask           answer            place             arrive
    ┌─ IDLE ─────▶ ASKING ─────────▶ ANSWERED ─────▶ LISTENING ─────────▶ ARRIVED
    │   ▲             │ fail                             │ lapse             │ accept, reject
    │   └─────────────┴──────────────────────────────────┴───────────────────┘
    │ shutdown (also from ASKING, LISTENING and ARRIVED)
    └─▶ SHUT ── listen ──▶ IDLE                          any state ── drop ──▶ CLOSED
"""

from __future__ import annotations

# Strings, for the messages of AssertionErrors. No enum: to import that takes milliseconds.

# The proxy is asked for no port; after a failure, or after a peer, until the program calls again.
IDLE = "idle"
# The background thread asks the proxy for a port, or pauses before it does.
ASKING = "asking"
# The proxy listens (its first reply is in), but the program still holds the placeholder.
ANSWERED = "answered"
# The program holds the control connection, on which the second reply names the peer.
LISTENING = "listening"
# The second reply is in: the control connection is the connection to the peer, and not handed out yet.
ARRIVED = "arrived"
# The program has called shutdown() for receiving.
SHUT = "shut down"
# The program has no descriptor left, or has its own socket again.
CLOSED = "closed"

STATES = (IDLE, ASKING, ANSWERED, LISTENING, ARRIVED, SHUT, CLOSED)


class Transitions(dict[str, str]):
    """The state that the event ``event`` leads to, by the state in which it happens.

    A dictionary, because a look-up in one has no call in it: a signal handler that calls the listener as well
    comes before it or after it (``lock``).
    """

    def __init__(self, event: str, following: dict[str, str]) -> None:
        super().__init__(following)
        self.event = event

    def __missing__(self, state: str) -> str:
        raise AssertionError(f"impossible: {self.event} of a listener that is {state}")


# The program calls listen(). While there is a port, or one is asked for, that changes nothing.
LISTEN = Transitions(
    "listen",
    {
        IDLE: IDLE,
        ASKING: ASKING,
        ANSWERED: ANSWERED,
        LISTENING: LISTENING,
        ARRIVED: ARRIVED,
        SHUT: IDLE,
    },
)
# The proxy is to be asked for a port.
ASK = Transitions("ask", {IDLE: ASKING})
# The first reply: the proxy listens.
ANSWER = Transitions("answer", {ASKING: ANSWERED})
# The first reply: it does not. Or there is none.
FAIL = Transitions("fail", {ASKING: IDLE})
# The control connection takes the place of the placeholder.
PLACE = Transitions("place", {ANSWERED: LISTENING})
# The second reply: a peer has connected.
ARRIVE = Transitions("arrive", {LISTENING: ARRIVED})
# The second reply: no peer will connect. Or the proxy has hung up.
LAPSE = Transitions("lapse", {LISTENING: IDLE})
# accept() returns the connection to the peer.
ACCEPT = Transitions("accept", {ARRIVED: IDLE})
# accept() closes the connection to the peer, whose address cannot be the true one.
REJECT = Transitions("reject", {ARRIVED: IDLE})
# The program calls shutdown() for receiving. An answer is put in its place before that.
SHUTDOWN = Transitions("shutdown", {IDLE: SHUT, ASKING: SHUT, LISTENING: SHUT, ARRIVED: SHUT})
# The process is a child after fork(), which has no thread that waits for the first reply. But it accepts the
# peer of a port that the parent has asked for.
FORK = Transitions(
    "fork",
    {
        IDLE: IDLE,
        ASKING: IDLE,
        ANSWERED: IDLE,
        LISTENING: LISTENING,
        ARRIVED: ARRIVED,
        SHUT: SHUT,
    },
)
# The last descriptor is closed, or listen() has failed for the first time. It may happen twice: the program
# closes the descriptor, and the registry sweeps.
DROP = Transitions("drop", dict.fromkeys(STATES, CLOSED))

EVENTS = (LISTEN, ASK, ANSWER, FAIL, PLACE, ARRIVE, LAPSE, ACCEPT, REJECT, SHUTDOWN, FORK, DROP)
