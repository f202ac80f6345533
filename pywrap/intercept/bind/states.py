"""The states of a socket that listens at a proxy, and the events that lead from one to another.

A ``Listener`` changes its state by ``self._state = states.ASK[self._state]`` and the like. In LISTENING and
ARRIVED the program's descriptor is the control connection; in all other states it is a placeholder
(``tcp.placeholder_socket``).

              ask           answer            place             arrive
    ┌─ IDLE ─────▶ ASKING ─────────▶ ANSWERED ─────▶ LISTENING ─────────▶ ARRIVED
    │   ▲             │ fail                             │ lapse             │ accept, reject
    │   └─────────────┴──────────────────────────────────┴───────────────────┘
    │ shutdown (also from ASKING, LISTENING and ARRIVED)
    └─▶ SHUT ── listen ──▶ IDLE                          any state ── drop ──▶ CLOSED
"""

from __future__ import annotations

# Strings, which are readable in the messages of AssertionErrors. The import of ``enum`` would take
# milliseconds.

# No BIND is requested: at the beginning, and after a failure or a peer until the program calls again.
IDLE = "idle"
# The background thread asks the proxy for a port, or pauses before it does.
ASKING = "asking"
# The proxy listens (its first reply is in), but the program still holds the placeholder.
ANSWERED = "answered"
# The program holds the control connection, on which the second reply names the peer.
LISTENING = "listening"
# The second reply is in: the control connection is the connection to the peer. accept() has not returned it
# yet.
ARRIVED = "arrived"
# The program has called shutdown() for receiving.
SHUT = "shut down"
# The program has no descriptor left, or has its own socket again.
CLOSED = "closed"

STATES = (IDLE, ASKING, ANSWERED, LISTENING, ARRIVED, SHUT, CLOSED)


class Transitions(dict[str, str]):
    """The next state by the present one, for the event ``event``.

    A dictionary, because a look-up in a dictionary contains no call: a signal handler that uses the same
    listener runs before it or after it, never in the middle (``lock``).
    """

    def __init__(self, event: str, following: dict[str, str]) -> None:
        super().__init__(following)
        self.event = event

    def __missing__(self, state: str) -> str:
        raise AssertionError(f"impossible: {self.event} of a listener that is {state}")


# The program calls listen(). While the proxy listens, or is asked to, that changes nothing.
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
# The first reply is a refusal; or the connection failed before it.
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
# The program calls shutdown() for receiving. From ANSWERED, ``PLACE`` comes before it.
SHUTDOWN = Transitions("shutdown", {IDLE: SHUT, ASKING: SHUT, LISTENING: SHUT, ARRIVED: SHUT})
# The process is a child after fork(), where no thread waits for the first reply. A port at which the proxy
# listens already belongs to parent and child, and either may accept its peer.
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
# The last descriptor is closed, or the first listen() has failed. May happen twice: when the program closes
# the descriptor, and when the registry sweeps.
DROP = Transitions("drop", dict.fromkeys(STATES, CLOSED))

EVENTS = (LISTEN, ASK, ANSWER, FAIL, PLACE, ARRIVE, LAPSE, ACCEPT, REJECT, SHUTDOWN, FORK, DROP)
