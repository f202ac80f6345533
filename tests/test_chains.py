"""Chains of real servers under a program: every type, every kind of hop, and hops that die meanwhile."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import errno
import json
import os
import select
import socket
import subprocess
import sys

import psutil
import pytest

from pywrap.config.settings import Chain, Proxy, Settings
from pywrap.launch.environment import environment
from pywrap.tunnel import round_robin
from tests.support import peers
from tests.support.child import source_of
from tests.support.inside import say
from tests.support.naming_proxy import naming_proxy
from tests.support.run import environment as clean_environment
from tests.support.run import pysocksify, run
from tests.support.scripted import CHOICE, GREETING, scripted
from tests.support.servers import reference_server
from tests.support.swallower import GRANT, OF_ONE_HOP, swallower

# The programs: sys.argv has the port of the echo server and a count.


def fetch():
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=50) as sock:
        sock.sendall(b"hello")
        return sock.recv(5, socket.MSG_WAITALL) == b"hello"


async def fetch_async():
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
    try:
        writer.write(b"hello")
        return await reader.readexactly(5) == b"hello"
    finally:
        writer.close()
        await writer.wait_closed()


def fetch_all():
    say(fetched=sum(fetch() for _ in range(int(sys.argv[2]))))


def fetch_all_async():
    async def fetch_many():
        gate = asyncio.Semaphore(20)

        async def one():
            async with gate:
                return await fetch_async()

        return sum(await asyncio.gather(*(one() for _ in range(int(sys.argv[2])))))

    say(fetched=asyncio.run(fetch_many()))


def proxy(server, scheme="socks5h", username=None, password=None):
    return Proxy(scheme, server.host, server.port, username, password)


def through(chain, code, *args, **settings):
    """What ``code`` says, run under ``settings`` as the launcher hands them over."""
    settings = Settings(chains=(chain,), loopback="proxy", **settings)
    command = sys.executable, "-c", source_of(code, names=globals()), *map(str, args)
    return run(*command, env=environment(settings, clean_environment())).json


@pytest.fixture
def three():
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(reference_server()) for _ in range(3)]


def counts(servers):
    return [len(server.seen) for server in servers]


# ---------------------------------------------------------------- types


@pytest.mark.parametrize("code", [fetch_all, fetch_all_async])
def test_dynamic_leaves_out_a_hop_that_is_not_there(code, three, echo_server, refusing_port):
    gone = Proxy("socks5h", "127.0.0.1", refusing_port)
    a, b, _ = three
    for chain in ((gone, proxy(a), proxy(b)), (proxy(a), gone, proxy(b)), (proxy(a), proxy(b), gone)):
        assert through(Chain(chain, type="dynamic"), code, echo_server.port, 5) == {"fetched": 5}
    # Where the hop that is not there comes last, b has no other hop and asks the destination itself.
    assert sum(record.port == echo_server.port for record in b.seen) == 15
    for server in (a, b):
        asked = sum(record.port == refusing_port for record in server.seen)
        # By one connection after the other, once; those that are made at once do not know of each other.
        assert asked == 1 if code is fetch_all else 1 <= asked <= 5


def test_strict_does_not(three, echo_server, refusing_port):
    gone = Proxy("socks5h", "127.0.0.1", refusing_port)

    def program():
        try:
            fetch()
        except ConnectionRefusedError as err:
            say(error=str(err))

    said = through(Chain((proxy(three[0]), gone)), program, echo_server.port, 1)
    asked = f"127.0.0.1:{refusing_port}"
    assert said["error"].endswith(
        f"hop 1 of 2, proxy {proxy(three[0])}: connection refused (asked for {asked})"
    )


def test_random_is_some_of_them(three, echo_server):
    chain = Chain(tuple(map(proxy, three)), type="random", length=1)
    assert through(chain, fetch_all_async, echo_server.port, 60) == {"fetched": 60}
    assert sum(counts(three)) == 60
    assert all(counts(three))


def test_round_robin_is_one_after_the_other(three, echo_server):
    chain = Chain(tuple(map(proxy, three)), type="round_robin", length=1)
    assert through(chain, fetch_all_async, echo_server.port, 60) == {"fetched": 60}
    assert counts(three) == [20, 20, 20]


def test_round_robin_goes_on_in_the_children(three, echo_server):
    def program():
        done = fetch()
        count = int(sys.argv[2])
        if count:
            # Without close_fds=False, and another pid.
            child = subprocess.run([sys.executable, "-c", sys.orig_argv[2], sys.argv[1], str(count - 1)])
            done = done and not child.returncode
        elif os.fork() == 0:
            os._exit(not fetch())
        else:
            done = done and os.wait()[1] == 0
        if count == 4:
            say(done=done)
        else:
            sys.exit(not done)

    chain = Chain(tuple(map(proxy, three)), type="round_robin", length=1)
    path = round_robin.create()
    try:
        assert through(chain, program, echo_server.port, 4, shared_file=path) == {"done": True}
    finally:
        os.close(int(path.rpartition("/")[2]))
    assert counts(three) == [2, 2, 2]


# ---------------------------------------------------------------- silent hops


@contextlib.contextmanager
def stopped(*processes):
    """``processes`` answer nothing meanwhile, while the kernel accepts connections for them.

    One that has ended has nothing to answer: of sshd, the process that authenticates ends after that.
    """
    with contextlib.ExitStack() as stack:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
                stack.callback(process.resume)
        yield


@pytest.mark.parametrize("script", [(None,), (len(GREETING), CHOICE, None)], ids=["at once", "let in"])
@pytest.mark.parametrize(
    ("code", "place"), [(fetch_all, 0), (fetch_all_async, 1), (fetch_all, 2), (fetch_all_async, 2)]
)
def test_dynamic_leaves_out_a_silent_hop(code, script, place, three, echo_server):
    with scripted(*script) as silent:
        chain = [proxy(three[0]), proxy(three[1])]
        chain.insert(place, proxy(silent))
        limits = {"timeout": 40.0}
        assert through(Chain(tuple(chain), type="dynamic"), code, echo_server.port, 5, **limits) == {
            "fetched": 5
        }
    assert sum(record.port == echo_server.port for record in three[1].seen) == 5


@pytest.mark.parametrize("type_", ["random", "round_robin"])
def test_so_do_those_that_pick(type_, three, echo_server):
    with scripted(len(GREETING), CHOICE, None) as silent:
        chain = Chain((proxy(silent), *map(proxy, three)), type=type_, length=2)
        assert through(chain, fetch_all_async, echo_server.port, 20, timeout=40.0) == {"fetched": 20}


def name_of(process):
    """The name of ``process``; "" when it has ended."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def test_the_ssh_connection_under_a_proxy_is_dead(three, echo_server):
    """``ssh -D`` then still takes part in every handshake, and is silent after it."""
    before = set(psutil.Process().children(recursive=True))
    with peers.ssh_dynamic() as ssh:
        new = set(psutil.Process().children(recursive=True)) - before
        sshd = [each for each in new if name_of(each).startswith("sshd")]
        with stopped(*sshd):
            chain = Chain((proxy(three[0]), proxy(ssh)), type="dynamic")
            assert through(chain, fetch_all_async, echo_server.port, 5, timeout=40.0) == {"fetched": 5}


def connect(address):
    socket.create_connection(address)


def connect_async(address):
    asyncio.run(asyncio.open_connection(*address))


@pytest.mark.parametrize("go", [connect, connect_async])
def test_a_silent_destination_has_us_come_from_nowhere_else(go, three):
    """Otherwise it could choose the hop that it sees."""

    def code():
        try:
            go(("silent.example", 80))
        except TimeoutError as err:
            say(error=err.errno)

    with naming_proxy(replies={"silent.example": None}) as last:
        chain = Chain((proxy(three[0]), proxy(last)), type="dynamic")
        assert through(chain, code, 0, 1, timeout=4.0) == {"error": errno.ETIMEDOUT}
    assert last.asked == [("CONNECT", "silent.example", 80), ("CONNECT", "127.0.0.1", 9)]
    assert {record.port for record in three[0].seen} == {last.port, 9}


# ---------------------------------------------------------------- hops that grant too early

# Asked for an IPv4 address, it grants that before it has a connection, as shadowsocks, trojan and `ssh -D`
# do; and then has none: it hangs up, or it says nothing more, or a word of its own.
LIARS = {
    "hangs up": (len(GREETING), CHOICE, 10, GRANT),
    "is silent": (len(GREETING), CHOICE, 10, GRANT, None),
    "garbage": (len(GREETING), CHOICE, 10, GRANT, len(GREETING), b"HTTP/1.1 502 Bad Gateway\r\n\r\n", None),
}


@pytest.mark.parametrize("script", LIARS.values(), ids=LIARS)
@pytest.mark.parametrize(("code", "place"), [(fetch_all, 0), (fetch_all_async, 1)])
def test_dynamic_leaves_out_a_hop_that_grants_what_it_does_not_have(code, script, place, three, echo_server):
    with scripted(*script) as liar:
        chain = [proxy(three[0]), proxy(three[1])]
        chain.insert(place, proxy(liar))
        limits = {"timeout": 40.0}
        assert through(Chain(tuple(chain), type="dynamic"), code, echo_server.port, 5, **limits) == {
            "fetched": 5
        }
    # Both of the good ones were in the way of all.
    assert sum(record.port == echo_server.port for record in three[1].seen) == 5
    assert sum(record.port == three[1].port for record in three[0].seen) >= 5


@pytest.mark.parametrize("type_", ["random", "round_robin"])
def test_so_do_those_that_pick_whom_they_go_through(type_, three, echo_server):
    def program():
        became = []
        for _ in range(int(sys.argv[2])):
            try:
                sock = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=50)
            except OSError as err:
                became.append(str(err))
                continue
            with sock:
                try:
                    sock.sendall(b"hello")
                    became.append(sock.recv(5, socket.MSG_WAITALL) == b"hello")
                except ConnectionError:
                    became.append(False)
        say(became=became)

    with scripted(*LIARS["hangs up"]) as liar:
        chain = Chain((proxy(liar), *map(proxy, three)), type=type_, length=2)
        became = through(chain, program, echo_server.port, 12)["became"]
    # As the last it takes the destination's connection, which then ends; connect() never fails.
    assert became.count(True) + became.count(False) == 12
    # By chance it is the last of many, until it was the first of one.
    assert became.count(True) >= (8 if type_ == "round_robin" else 1)


def test_strict_names_both(three, echo_server):
    def program():
        try:
            fetch()
        except ConnectionResetError as err:
            say(error=str(err))

    with scripted(*LIARS["hangs up"]) as liar:
        said = through(Chain((proxy(liar), proxy(three[0]))), program, echo_server.port, 1)["error"]
    # The liar closes its connection with or without something unread in it, which makes a FIN or a RST.
    ends = "the proxy hung up", "the connection to the proxy broke"
    assert any(f"hop 2 of 2, proxy {proxy(three[0])}: {end}" in said for end in ends)
    assert f"hop 1 of 2, proxy {proxy(liar)}, granted a connection to it that it does not have" in said


@pytest.mark.parametrize(("behind", "pipelines"), [("reference server", True), ("microsocks", False)])
def test_a_hop_that_swallows_what_is_behind_its_request_costs_one_stall(
    behind, pipelines, three, echo_server, microsocks
):
    def program():
        from pywrap import intercept

        fetched = fetch()
        hops = intercept.current().hops
        after_one = {hop.port: pipelines for hop, pipelines in hops._pipelining.items()}
        say(fetched=fetched + fetch(), pipelines=after_one, passes=list(hops._passers.values()))

    last = three[0] if behind == "reference server" else microsocks
    with swallower() as server:
        chain = Chain((proxy(server), proxy(last)))
        said = through(chain, program, echo_server.port, 1, pipeline="on")
        # Both are known after one connection, so no other has to wait.
        assert said == {
            "fetched": 2,
            "pipelines": {str(server.port): True, str(last.port): pipelines},
            "passes": [False],
        }
        assert server.lost() == 1
        # What is its own still comes at once.
        assert server.pieces[-1] == OF_ONE_HOP


def test_auto_loses_nothing_of_a_connection_to_a_hop_that_swallows(three, echo_server):
    def program():
        import time

        from pywrap import intercept

        hops = intercept.current().hops
        deadline = time.monotonic() + 30
        failed = 0
        while not hops._passers and time.monotonic() < deadline:
            failed += not fetch()
        say(failed=failed + (not fetch()), passes=list(hops._passers.values()))

    with swallower() as server:
        chain = Chain((proxy(server), proxy(three[0])))
        assert through(chain, program, echo_server.port, 1, pipeline="auto") == {
            "failed": 0,
            "passes": [False],
        }
        # The probe's.
        assert server.lost() == 1
        assert server.pieces[-1] == OF_ONE_HOP


def test_the_broker_finds_out_what_a_hop_loses_as_a_patched_program_does(three, echo_server, cannot_confine):
    if cannot_confine:
        pytest.skip(cannot_confine)

    def program():
        # Until stdin ends; no more than some seconds of it.
        while not select.select([0], [], [], 0)[0] and len(fetched) < 500:
            fetched.append(fetch())
        say(fetched=all(fetched))

    fetched = []
    with swallower() as server:
        options = ("--confine", "on", "-v", "--pipeline", "auto", "-x", f"socks5h://127.0.0.1:{server.port}")
        options = (*options, "-x", three[0].url())
        # Without the patches, which would send probes of their own.
        python = (sys.executable, "-I", "-S", "-c", source_of(program), str(echo_server.port))
        command = [*pysocksify(*options, "--loopback", "proxy"), *python]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        with subprocess.Popen(command, env=clean_environment(), text=True, **pipes) as process:
            told = next((line for line in process.stderr if "loses what comes right behind" in line), "")
            out, err = process.communicate()
            assert process.returncode == 0, err
        assert told, "the program has ended before"
        assert json.loads(out) == {"fetched": True}
        # The probe's.
        assert server.lost() == 1


# ---------------------------------------------------------------- hops


@pytest.mark.parametrize("pipeline, fast_open", [("off", False), ("off", True), ("auto", True)])
def test_every_kind_of_hop_in_one_chain(
    pipeline, fast_open, tinyproxy, dante, ssh_dynamic, microsocks_with_password, proxy_py, echo_server
):
    with reference_server() as ours:
        hops = (
            proxy(tinyproxy, "http"),
            proxy(ssh_dynamic, "socks4a"),
            proxy(microsocks_with_password, "socks5h", b"alice", b"secret"),
            proxy(dante, "socks4"),
            proxy(proxy_py, "http"),
            proxy(ours),
        )
        for chain in (hops, hops[::-1], hops[3:] + hops[:3]):
            said = through(
                Chain(chain), fetch_all, echo_server.port, 3, pipeline=pipeline, fast_open=fast_open
            )
            assert said == {"fetched": 3}
        # Those that auto asks whether they support pipelining are asked through the others.
        assert len(ours.seen) == 9 if pipeline == "off" else len(ours.seen) >= 9


def test_pipelining_through_hops_that_do_not_support_it(
    tinyproxy, microsocks_with_password, dante, echo_server
):
    hops = (
        proxy(dante),
        proxy(microsocks_with_password, "socks5h", b"alice", b"secret"),
        proxy(tinyproxy, "http"),
    )
    assert through(Chain(hops), fetch_all, echo_server.port, 3, pipeline="on") == {"fetched": 3}


# ---------------------------------------------------------------- hops that die


# At least 500 connections, ten at a time. After a hundred it says "now", and goes on until it is told that it
# has happened; 250 more follow. What became of them is said at the end.
def fetch_500():
    async def fetch_once():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[1]))
        except OSError as err:
            return errno.errorcode[err.errno]
        try:
            writer.write(b"hello")
            return "done" if await reader.read(5) == b"hello" else "ended"
        except ConnectionError:
            return "ended"
        finally:
            writer.transport.abort()

    async def main():
        happened = asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        became, afterwards = [], []
        begun = 0

        async def work():
            nonlocal begun
            while len(became) < 250 or not happened.done():
                became.append(await fetch_once())
                if len(became) == 100:
                    print("now", flush=True)
            while begun < 250:
                begun += 1
                afterwards.append(await fetch_once())

        await asyncio.gather(*(work() for _ in range(10)))
        say(became=collections.Counter(became), afterwards=collections.Counter(afterwards))

    asyncio.run(main())


def fetch_500_meanwhile(chain, echo_server, happens, **settings):
    """What became of those before and during ``happens()``, and of those after it."""
    settings = Settings(chains=(chain,), loopback="proxy", **settings)
    with subprocess.Popen(
        [sys.executable, "-c", source_of(fetch_500), str(echo_server.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(settings, clean_environment()),
    ) as process:
        assert process.stdout.readline() == "now\n"
        happens()
        said = json.loads(process.communicate("happened\n", timeout=120)[0])
        assert process.returncode == 0
    return said["became"], said["afterwards"]


@pytest.mark.parametrize(
    ("type_", "length", "pipeline"),
    [
        ("dynamic", 0, "off"),
        ("dynamic", 0, "on"),
        ("dynamic", 0, "auto"),
        ("random", 2, "off"),
        ("round_robin", 2, "off"),
    ],
)
def test_500_connections_while_hops_die(type_, length, pipeline, echo_server):
    """Two of five die in the midst of it. That can end a tunnel which stood, but no connect() fails."""
    with contextlib.ExitStack() as doomed, contextlib.ExitStack() as stack:
        servers = [
            doomed.enter_context(peers.microsocks()),
            ours := stack.enter_context(reference_server()),
            stack.enter_context(peers.ssh_dynamic()),
            doomed.enter_context(peers.dante()),
            last := stack.enter_context(reference_server()),
        ]
        chain = Chain(tuple(map(proxy, servers)), type=type_, length=length)
        became, afterwards = fetch_500_meanwhile(chain, echo_server, doomed.close, pipeline=pipeline)
    # Not more than were open at the times that they died, and none after that.
    assert set(became) <= {"done", "ended"}
    assert became.get("ended", 0) <= 20
    assert afterwards == {"done": 250}
    ports = {server.port for server in servers}
    if type_ == "dynamic":
        assert len(last.seen) >= 450
        # With port 0: probes of pipelining.
        assert {record.port for record in last.seen} - {0} == {echo_server.port}
        assert {record.port for record in ours.seen} <= {*ports, 0}
        return
    for server, behind_it in ((ours, servers[2]), (last, servers[0])):
        others = ports - {server.port} if type_ == "random" else {behind_it.port}
        assert {record.port for record in server.seen} >= {echo_server.port, *others}


@pytest.mark.parametrize("dies", [0, 1, 2])
def test_500_connections_through_a_strict_chain_while_a_hop_dies(dies, echo_server):
    """Whoever comes afterwards is told so at once."""
    with contextlib.ExitStack() as doomed, contextlib.ExitStack() as stack:
        kinds = [peers.microsocks, peers.ssh_dynamic, peers.dante]
        servers = [
            (doomed if place == dies else stack).enter_context(kind()) for place, kind in enumerate(kinds)
        ]
        chain = Chain(tuple(map(proxy, servers)))
        became, afterwards = fetch_500_meanwhile(chain, echo_server, doomed.close)
    assert became["done"] >= 90
    # `ssh -D`, where it is the one before, hangs up for a refusal.
    assert afterwards == {"ECONNRESET" if dies == 2 else "ECONNREFUSED": 250}


# ---------------------------------------------------------------- what auto learns


def test_auto_learns_from_the_second_connection_and_leaks_nothing(three, echo_server):
    def program():
        import time

        from pywrap import intercept

        fetched = fetch()
        before = sorted(os.listdir("/proc/self/fd"))
        hops = intercept.current().hops
        fetched += fetch()
        deadline = time.monotonic() + 30
        while not hops._pipelining and time.monotonic() < deadline:
            fetch()
        while sorted(os.listdir("/proc/self/fd")) != before and time.monotonic() < deadline:
            fetch()
        fetched += fetch()
        say(
            fetched=fetched,
            pipelining=list(hops._pipelining.values()),
            leaked=sorted(os.listdir("/proc/self/fd")) != before,
        )

    said = through(Chain((proxy(three[0]),)), program, echo_server.port, 3, pipeline="auto")
    assert said == {"fetched": 3, "pipelining": [True], "leaked": False}


# ---------------------------------------------------------------- from a file


def test_a_round_robin_of_a_file_is_shared_by_the_run(three, echo_server, tmp_path):
    config = tmp_path / "proxychains.conf"
    lines = [f"socks5 {server.host} {server.port}" for server in three]
    config.write_text("\n".join(["round_robin_chain", "chain_len = 1", "[ProxyList]", *lines, ""]))

    def program():
        done = [fetch()]
        for _ in range(5):
            child = "import socket, sys; socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()"
            done.append(subprocess.run([sys.executable, "-c", child, sys.argv[1]]).returncode == 0)
        say(done=done)

    command = sys.executable, "-c", source_of(program), str(echo_server.port)
    said = run(*pysocksify("-f", config, "--loopback", "proxy"), *command).json
    assert said == {"done": [True] * 6}
    assert counts(three) == [2, 2, 2]
