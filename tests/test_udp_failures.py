"""UDP when something breaks in mid-flow: the server, the association, the way to the proxy.

The program sends a datagram whenever it is told to, and says what came of it. It must not hang, and has to be
told in words.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys

import pytest

from tests.support.child import source_of
from tests.support.datagram_servers import answering, nothing
from tests.support.datagrams import udp_echo
from tests.support.forwarder import forwarder
from tests.support.run import PROGRAMS, environment, program, pysocksify
from tests.support.scripted import CHOICE, GREETING, scripted
from tests.support.servers import reference_server

VERSION = "import sys; print('%d.%d.%02d' % sys.version_info[:3], end='')"

KINDS = ["blocking", "timeout", "asyncio"]


class OnDemand:
    """``udp_on_demand.py`` that runs: ``ask`` it for a datagram there and back."""

    def __init__(self, *command):
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def ask(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    def said(self):
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        return json.loads(line)

    def outcome(self, word):
        """What comes of ``word``, be it told by the call that sends or by the one that receives."""
        self.ask(word)
        said = self.said()
        return self.said() if said == {"waiting": True} else said

    def end(self):
        """Let it end; nothing but what is meant for a person is on stderr."""
        _, err = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, err
        assert "Traceback" not in err and "never retrieved" not in err, err
        return err


@pytest.fixture
def on_demand():
    """``on_demand(*command)``, killed at the end when it has not ended."""
    with contextlib.ExitStack() as stack:

        def start(*command):
            one = OnDemand(*command)
            stack.callback(one.process.communicate)
            stack.callback(one.process.kill)
            return one

        yield start


@pytest.fixture
def echo():
    with udp_echo() as echo:
        yield echo


def through(port, host="127.0.0.1"):
    return pysocksify("-x", f"socks5h://{host}:{port}", "--loopback", "proxy")


@contextlib.contextmanager
def pysocksd(*before, listen="127.0.0.1"):
    """Our server as a process: its port, and the process."""
    command = [*before, sys.executable, "-m", "pywrap.server", "--listen", f"{listen}:0", "-q"]
    command += ["--allow", "0.0.0.0/0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            # There may be a warning before it.
            lines = iter(process.stderr.readline, "")
            found = (re.search(r"listening on .*:(\d+)$", line) for line in lines)
            yield next(int(match[1]) for match in found if match), process
        finally:
            process.kill()


# ---------------------------------------------------------------- the server is killed


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_killed_between_two_datagrams(kind, echo, on_demand):
    with pysocksd() as (port, process):
        asked = on_demand(*through(port), *program("udp_on_demand.py"), echo.host, echo.port, kind)
        assert asked.outcome("before") == {"got": "before"}
        process.kill()
        process.wait()
        outcomes = [asked.outcome(word)["error"] for word in ("after", "again", "and again")]
        for kind_of_error, number, words in outcomes:
            # Either the end of the association, or that there is no other.
            assert (kind_of_error, number) == ("ConnectionRefusedError", "ECONNREFUSED")
            assert f"127.0.0.1:{port}" in words
        asked.end()


@pytest.mark.parametrize("kind", KINDS)
def test_a_server_that_is_killed_while_the_program_waits(kind, on_demand):
    with answering(nothing) as silent, pysocksd() as (port, process):
        asked = on_demand(*through(port), *program("udp_on_demand.py"), silent.host, silent.port, kind)
        asked.ask("patiently")
        assert asked.said() == {"waiting": True}
        silent.wait_for_heard(1)
        process.kill()
        process.wait()
        error, number, words = asked.said()["error"]
        assert (error, number) == ("ConnectionRefusedError", "ECONNREFUSED")
        assert f"proxy 127.0.0.1:{port}" in words and "with it ended the UDP association" in words
        asked.end()


def test_threads_in_full_flow_are_told_when_the_server_is_killed(echo, on_demand):
    with pysocksd() as (port, process):
        flowing = on_demand(*through(port), *program("udp_flow.py"), echo.host, echo.port)
        assert flowing.said() == {"flowing": True}
        process.kill()
        process.wait()
        said = flowing.said()
        assert {*said} == {"sender", "receiver", "loop"}
        for number, words in said.values():
            assert number == "ECONNREFUSED"
            assert f"127.0.0.1:{port}" in words
        flowing.end()


def test_a_program_that_forks_is_not_warned_of_our_thread(interpreter, echo, echo_server, on_demand):
    # Python 3.12 and later warn of a fork() beside another thread, ours or not. As an error, the
    # warning would be lost there before 3.15.
    with pysocksd() as (port, process):
        command = *through(port), interpreter, "-W", "always", PROGRAMS / "fork_with_tunnels.py"
        forking = on_demand(*command, echo.host, echo.port, echo_server.port)
        assert forking.said() == {"forked": [str(number) for number in range(30)] + ["tcp"] * 30}
        # The thread watches the association as before.
        process.kill()
        process.wait()
        assert forking.said() == {"ended": "ECONNREFUSED"}
        said = forking.end()
    version = subprocess.run([interpreter, "-c", VERSION], capture_output=True, text=True, check=True).stdout
    # gh-137109: there, the threads are counted after they have been started again.
    if not ("3.13.00" <= version < "3.13.10" or version == "3.14.00"):
        assert "Warning" not in said


# ---------------------------------------------------------------- the association is ended


@pytest.mark.parametrize("kind", KINDS)
def test_an_association_that_is_ended_between_two_datagrams_is_opened_anew(kind, echo, on_demand):
    with reference_server() as proxy, forwarder(proxy.address) as way:
        asked = on_demand(*through(way.port), *program("udp_on_demand.py"), echo.host, echo.port, kind)
        assert asked.outcome("before") == {"got": "before"}
        way.cut()
        proxy.wait_for_udp_closed(1)
        outcomes = [asked.outcome("after")]
        while "error" in outcomes[-1]:
            outcomes.append(asked.outcome("after"))
        # Whoever sleeps on the socket when the end is seen is told; asyncio always does.
        for outcome in outcomes[:-1]:
            assert outcome["error"][1] == "ECONNREFUSED"
            assert "and with it ended the UDP association" in outcome["error"][2]
        assert len(outcomes) <= 2
        assert outcomes[-1] == {"got": "after"}
        assert len(proxy.asked) == 2
        asked.end()


@pytest.mark.parametrize("kind", KINDS)
def test_an_association_that_is_ended_while_the_program_waits(kind, on_demand):
    with answering(lambda data, _: data if data == b"after" else None) as server:
        with reference_server() as proxy, forwarder(proxy.address) as way:
            words = server.host, server.port, kind
            asked = on_demand(*through(way.port), *program("udp_on_demand.py"), *words)
            asked.ask("patiently")
            assert asked.said() == {"waiting": True}
            server.wait_for_heard(1)
            way.cut()
            error, number, words = asked.said()["error"]
            assert (error, number) == ("ConnectionRefusedError", "ECONNREFUSED")
            assert f"proxy 127.0.0.1:{way.port}" in words
            assert "and with it ended the UDP association" in words
            assert asked.outcome("after") == {"got": "after"}
            asked.end()


def test_a_port_of_twisted_survives_the_end_of_its_association(echo, on_demand):
    # Which gives up a port when recvfrom() raises anything but ECONNREFUSED.
    with reference_server() as proxy, forwarder(proxy.address) as way:
        ticking = on_demand(*through(way.port), *program("udp_twisted_ticks.py"), echo.host, echo.port)
        assert "got" in ticking.said()
        way.cut()
        proxy.wait_for_udp_closed(1)
        proxy.wait_for_seen(2)
        # Some may have been on their way before.
        last = len(echo.seen)
        while ticking.said()["got"] <= last:
            pass
        ticking.ask("the end")
        assert ticking.end() == ""


# ---------------------------------------------------------------- the way to the proxy


@pytest.fixture
def far():
    """Another network namespace with our server and an echo, at the end of a link."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and ip")
    with contextlib.ExitStack() as stack:
        yield Far(stack)


class Far:
    """Two namespaces: programs run in ``near``, and what they reach is in the other one, at ADDRESS."""

    NEAR, ADDRESS = "10.214.0.1", "10.214.0.2"

    def __init__(self, stack):
        number = os.getpid()
        self.names = [f"pysocksify-{side}-{number}" for side in ("near", "far")]
        for name in self.names:
            try:
                self._ip("netns", "add", name)
            except subprocess.CalledProcessError as err:
                pytest.skip(f"no network namespaces here: {err.stderr.strip()}")
            stack.callback(self._ip, "netns", "delete", name)
        near, far = self.names
        self._ip("-n", near, "link", "add", "near", "type", "veth", "peer", "far", "netns", far)
        for name, device, address in (near, "near", self.NEAR), (far, "far", self.ADDRESS):
            self._ip("-n", name, "address", "add", f"{address}/24", "dev", device)
            self._ip("-n", name, "link", "set", device, "up")
            self._ip("-n", name, "link", "set", "lo", "up")
        self.port, _ = stack.enter_context(pysocksd(*self.within(far), listen=self.ADDRESS))
        # A thread cannot live in a namespace of its own; a process can.
        echo = stack.enter_context(
            subprocess.Popen(
                [*self.within(far), sys.executable, "-c", source_of(_echo), self.ADDRESS],
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        stack.callback(echo.kill)
        self.echo = int(echo.stdout.readline())

    @staticmethod
    def _ip(*words):
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)

    @staticmethod
    def within(name):
        return "ip", "netns", "exec", name

    def start(self, on_demand, kind):
        command = *self.within(self.names[0]), *through(self.port, self.ADDRESS)
        return on_demand(*command, *program("udp_on_demand.py"), self.ADDRESS, self.echo, kind)

    def take_away(self, what):
        self._set(what, "delete", "down")

    def give_back(self, what):
        self._set(what, "add", "up")

    def _set(self, what, route, link):
        near, far = self.names
        if what == "route":
            self._ip("-n", near, "route", route, "10.214.0.0/24", "dev", "near")
        elif what == "near end":
            self._ip("-n", near, "link", "set", "near", link)
        else:
            self._ip("-n", far, "link", "set", "far", link)


def _echo():
    import sys

    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((sys.argv[1], 0))
    print(sock.getsockname()[1], flush=True)
    while True:
        data, source = sock.recvfrom(65536)
        sock.sendto(data, source)


WAYS = [(kind, what) for kind in KINDS for what in ("route", "near end")]


@pytest.mark.parametrize(("kind", "what"), WAYS)
def test_a_way_that_is_gone_and_comes_back(kind, what, far, on_demand):
    asked = far.start(on_demand, kind)
    assert asked.outcome("before") == {"got": "before"}
    far.take_away(what)
    for _ in range(3):
        name, number, words = asked.outcome("into the void")["error"]
        assert (name, number) == ("OSError", "ENETUNREACH")
        assert words.startswith(f"[Errno 101] Network is unreachable (to the UDP relay {far.ADDRESS}:")
    far.give_back(what)
    for _ in range(10):
        # On a busy machine the first may be late for the program's timeout.
        if (outcome := asked.outcome("after")) == {"got": "after"}:
            break
        assert outcome["error"][0] == "TimeoutError"
    assert outcome == {"got": "after"}
    asked.end()


@pytest.mark.parametrize("kind", ["timeout", "asyncio"])
def test_a_way_that_swallows_everything_and_recovers(kind, far, on_demand):
    asked = far.start(on_demand, kind)
    assert asked.outcome("before") == {"got": "before"}
    far.take_away("far end")
    timeout = {"error": ["TimeoutError", None, "timed out" if kind == "timeout" else ""]}
    assert [asked.outcome("into the void") for _ in range(3)] == [timeout] * 3
    far.give_back("far end")
    while (outcome := asked.outcome("after")) != {"got": "after"}:
        # The link may have kept what it was given while it was down.
        assert outcome in (timeout, {"got": "into the void"})
    asked.end()


# ---------------------------------------------------------------- relays that are none


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 1])
def test_a_relay_at_port_0_is_no_udp(kind, place, echo, on_demand):
    granted = b"\x05\x00\x00\x01" + bytes(6)
    script = (len(GREETING), CHOICE, 10, granted, None)
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(scripted(*script))
        hops = ["-x", f"socks5h://127.0.0.1:{server.port}"]
        if place:
            hops = ["-x", stack.enter_context(reference_server()).url(), *hops]
        command = pysocksify(*hops, "--loopback", "proxy")
        asked = on_demand(*command, *program("udp_on_demand.py"), echo.host, echo.port, kind)
        _, number, words = asked.outcome("hello")["error"]
        # Of the same number as EOPNOTSUPP.
        assert number == "ENOTSUP"
        assert "the proxy has no UDP: it granted that with a relay at port 0" in words
        asked.end()
