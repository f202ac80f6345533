"""The states of a listener: the table, and a socket that goes through all of them."""

from __future__ import annotations

import itertools
import os
import socket
import sys

import pytest

from pywrap.intercept.bind import states
from pywrap.intercept.bind.states import EVENTS, STATES
from tests.support.bind import BOUND, CAME, REQUEST, at, listening, readable, url
from tests.support.inside import PATIENCE, outcome, say
from tests.support.scripted import CHOICE, GREETING, scripted

# A row for each event, a column for each state; "-" is impossible.
TABLE = """
            idle    asking    answered  listening  arrived   shut down  closed
listen      idle    asking    answered  listening  arrived   idle       -
ask         asking  -         -         -          -         -          -
answer      -       answered  -         -          -         -          -
fail        -       idle      -         -          -         -          -
place       -       -         listening -          -         -          -
arrive      -       -         -         arrived    -         -          -
lapse       -       -         -         idle       -         -          -
accept      -       -         -         -          idle      -          -
reject      -       -         -         -          idle      -          -
shutdown    shut    shut      -         shut       shut      -          -
fork        idle    idle      idle      listening  arrived   shut       -
drop        closed  closed    closed    closed     closed    closed     closed
"""


def expected():
    """The table as (event, state, following); None where it is impossible."""
    _, *rows = (line.replace("shut down", "shut").split() for line in TABLE.strip().splitlines())
    for name, *cells in rows:
        for state, cell in zip(STATES, cells, strict=True):
            following = None if cell == "-" else next(each for each in STATES if each.startswith(cell))
            yield name, state, following


EVENT = {row.event: row for row in EVENTS}


def test_every_event_and_every_state_are_in_the_table():
    assert {(name, state) for name, state, _ in expected()} == set(itertools.product(EVENT, STATES))


@pytest.mark.parametrize(("name", "state", "following"), [row for row in expected() if row[2]])
def test_a_possible_event_leads_to_one_state(name, state, following):
    assert EVENT[name][state] == following


@pytest.mark.parametrize(("name", "state"), [row[:2] for row in expected() if not row[2]])
def test_an_impossible_event_is_an_error_that_names_both(name, state):
    with pytest.raises(AssertionError, match=f"^impossible: {name} of a listener that is {state}$"):
        EVENT[name][state]


def test_every_state_is_reached_and_leads_on():
    reached, found = set(), {states.IDLE}
    while found:
        reached |= found
        found = {event[state] for event in EVENTS for state in found if state in event} - reached
    assert reached == set(STATES)
    for state in STATES:
        others = {event[state] for event in EVENTS if state in event} - {state}
        assert others if state != states.CLOSED else not others


# ---------------------------------------------------------------- a real one


def listener_of(sock):
    """The listener that stands for ``sock``, from inside the program."""
    from pywrap.intercept import patch_on_import

    return patch_on_import._registry.listener_of(sock.fileno())


def answered(listener):
    """The state of ``listener`` once the proxy has answered, or has failed to."""
    while listener.asking:
        os.sched_yield()
    return listener.state


def test_a_socket_goes_through_every_state():
    def program():
        import resource

        sock = listening(blocking=False)
        listener = listener_of(sock)
        seen = [listener.state, answered(listener)]
        sock.getsockname()
        seen.append(listener.state)
        assert readable(sock, PATIENCE)
        # No descriptor is left for the peer.
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = os.open("/", os.O_RDONLY)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        full = outcome(sock.accept)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        seen.append(listener.state)
        conn, address = sock.accept()
        seen.append(listener.state)
        sock.shutdown(socket.SHUT_RD)
        seen.append(listener.state)
        sock.close()
        seen.append(listener.state)
        say(seen=seen, full=full, address=address)

    with scripted(len(GREETING), CHOICE, len(REQUEST), BOUND, CAME, None) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert said == {
        "seen": ["asking", "answered", "listening", "arrived", "idle", "shut down", "closed"],
        "full": "EMFILE",
        "address": ["192.0.2.7", 20],
    }


# What the program does.


def wait_for_the_reply(sock, listener, seen):
    answered(listener)


def see_the_port_lapse(sock, listener, seen):
    answered(listener)
    sock.getsockname()
    readable(sock, PATIENCE)
    seen.append(listener.state)
    outcome(sock.accept)
    assert listener.state != "listening"


def shut_down_and_listen_again(sock, listener, seen):
    sock.shutdown(socket.SHUT_RDWR)
    seen.append(listener.state)
    sock.listen()


def shut_down_with_a_port(sock, listener, seen):
    answered(listener)
    sock.shutdown(socket.SHUT_RDWR)


def close(sock, listener, seen):
    sock.close()


def close_with_a_port(sock, listener, seen):
    answered(listener)
    sock.close()


# What the proxy does, what the program does, and the states that it finds from then on.
ENDS = {
    "refused": (
        [len(GREETING), CHOICE, len(REQUEST), b"\x05\x07"],
        wait_for_the_reply,
        ["idle"],
    ),
    "hung up": (
        [len(GREETING), CHOICE, len(REQUEST), BOUND],
        see_the_port_lapse,
        # The port lapses, and the proxy is asked for another: how far that has come is not known.
        ["listening", None],
    ),
    "shut down while it is asked": (
        [len(GREETING), CHOICE, len(REQUEST), None],
        shut_down_and_listen_again,
        ["shut down", "asking"],
    ),
    "shut down with a port": (
        [len(GREETING), CHOICE, len(REQUEST), BOUND, None],
        shut_down_with_a_port,
        ["shut down"],
    ),
    "closed while it is asked": (
        [len(GREETING), CHOICE, len(REQUEST), None],
        close,
        ["closed"],
    ),
    "closed when it is answered": (
        [len(GREETING), CHOICE, len(REQUEST), BOUND, None],
        close_with_a_port,
        ["closed"],
    ),
}


@pytest.mark.parametrize(("script", "does", "found"), ENDS.values(), ids=ENDS)
def test_each_end_leaves_the_state_that_the_table_has(script, does, found):
    def program():
        sock = listening(blocking=False)
        listener, seen = listener_of(sock), []
        does(sock, listener, seen)
        seen.append(listener.state)
        sock.close()
        say(seen=seen, last=listener.state)

    with scripted(*script) as proxy:
        said = at(
            url(proxy),
            program,
        )
    assert [each if known else None for each, known in zip(said["seen"], found, strict=True)] == found
    assert said["last"] == "closed"


@pytest.mark.parametrize(
    ("before", "after"),
    [("asking", "idle"), ("answered", "idle"), ("listening", "listening"), ("shut down", "shut down")],
)
def test_a_child_has_the_state_that_the_table_has(before, after):
    def program():
        import warnings

        warnings.simplefilter("ignore", DeprecationWarning)  # a thread of ours may be at work
        sock, before = listening(blocking=False), sys.argv[1]
        listener = listener_of(sock)
        if before != "asking":
            answered(listener)
        if before == "listening":
            sock.getsockname()
        if before == "shut down":
            sock.shutdown(socket.SHUT_RD)
        found = [listener.state]
        reading, writing = os.pipe()
        if os.fork() == 0:
            os.write(writing, listener.state.encode())
            os._exit(0)
        os.wait()
        say(found=[*found, os.read(reading, 100).decode()], parent=listener.state)

    reply = [None] if before == "asking" else [BOUND, None]
    with scripted(len(GREETING), CHOICE, len(REQUEST), *reply) as proxy:
        said = at(
            url(proxy),
            program,
            before,
        )
    assert said == {"found": [before, after], "parent": before}
