"""Code of the program that comes in the middle of ours, in the same thread, and opens connections itself.

The programs run in child processes; ``faulthandler`` ends one that hangs, and says where.
"""

from __future__ import annotations

import errno
import faulthandler
import gc
import select
import signal
import socket
import sys
import threading
import warnings

import pytest

from tests.support.child import kernel, source_of
from tests.support.inside import PATIENCE, echo, say, wait_writable
from tests.support.run import program, pysocksify, run


def reach(timeout=PATIENCE):
    with socket.socket() as sock:
        sock.settimeout(timeout)
        sock.connect((sys.argv[1], int(sys.argv[2])))
        return echo(sock)


# Signals, each of which connects: the next one comes a moment after its handler has ended.
TIMES, INTERVAL = 100, 0.0007
heard = []
went_wrong = []


def handler(in_the_middle):
    heard.append(1)
    try:
        in_the_middle()
    except BaseException as err:
        went_wrong.append(repr(err))
    if len(heard) < TIMES:
        signal.setitimer(signal.ITIMER_REAL, INTERVAL)


def storm(in_the_middle):
    signal.signal(signal.SIGALRM, lambda *_: handler(in_the_middle))
    signal.setitimer(signal.ITIMER_REAL, INTERVAL)


def test_signals_connect_while_the_first_connections_load_us(proxy, echo_server):
    def program():
        faulthandler.dump_traceback_later(50, exit=True)
        results = []
        threads = [threading.Thread(target=lambda: results.append(reach())) for _ in range(3)]
        storm(reach)
        for thread in threads:
            thread.start()
        results.append(reach())
        while len(heard) < TIMES:
            signal.pause()
        for thread in threads:
            thread.join()
        say(results=results, went_wrong=went_wrong)

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said == {"results": ["hello"] * 4, "went_wrong": []}
    assert len(proxy.asked) == 104


# Each is set up, and opens a connection of its own in the middle of the first one's import.
def finder(intrude):
    class Finder:
        @staticmethod
        def find_spec(name, path=None, target=None):
            intrude()

    sys.meta_path.insert(0, Finder)


def audit_hook(intrude):
    sys.addaudithook(lambda event, args: intrude() if event == "exec" else None)


def trace_function(intrude):
    sys.settrace(lambda *args: intrude())


def profile_function(intrude):
    sys.setprofile(lambda *args: intrude())


def callback_of_the_collector(intrude):
    gc.set_threshold(1)
    gc.callbacks.append(lambda *args: intrude())


def finalizer(intrude):
    gc.set_threshold(1)

    class Cycle:
        def __init__(self):
            self.me = self

        def __del__(self):
            intrude()
            Cycle()

    Cycle()


INTRUDERS = finder, audit_hook, trace_function, profile_function, callback_of_the_collector, finalizer


@pytest.mark.parametrize("intruder", INTRUDERS, ids=[each.__name__ for each in INTRUDERS])
def test_what_connects_in_the_middle_of_our_import_is_connected(intruder, proxy, echo_server):
    def program():
        faulthandler.dump_traceback_later(50, exit=True)
        seen, inside = [], []

        def intrude():
            # Ten are enough, and one at a time, as any program does that watches itself.
            if not inside and len(seen) < 10:
                inside.append(1)
                try:
                    seen.append(reach())
                except BaseException as err:
                    seen.append(repr(err))
                finally:
                    inside.pop()

        intruder(intrude)
        first = reach()
        sys.settrace(None), sys.setprofile(None)
        say(first=first, seen=seen)

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said["first"] == "hello"
    assert set(said["seen"]) <= {"hello"}
    assert len(proxy.asked) == 1 + len(said["seen"])


def test_an_audit_hook_that_connects_without_end_gets_an_error_in_words(proxy, echo_server):
    def program():
        faulthandler.dump_traceback_later(50, exit=True)
        failed = []

        def hook(event, args):
            # Each look at a file connects, and the connection looks at files.
            if event == "open" and not failed:
                try:
                    reach()
                except OSError as err:
                    failed.append([err.errno == errno.EDEADLK, str(err)])

        sys.addaudithook(hook)
        say(first=reach(), failed=failed)

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said["first"] == "hello"
    ((is_deadlock, words),) = said["failed"]
    assert is_deadlock and "pysocksify" in words


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_audit_hook_that_connects_at_every_event_in_a_storm_of_signals(when, proxy, echo_server):
    """It is there ``before`` the import of ``socket``, or ``after`` it."""
    said = run(
        *pysocksify("-x", proxy.url(), "--loopback", "proxy"),
        *program("hook_connects.py"),
        *(echo_server.host, echo_server.port, when),
    ).json
    assert said.pop("events") > 100
    assert said == {"reached": ["hello"], "by_hook": ["hello"], "by_handler": ["hello"], "masks": [[]]}


def test_a_signal_ends_what_an_audit_hook_waits_for_in_the_middle_of_our_import(hanging, echo_server):
    def program():
        faulthandler.dump_traceback_later(50, exit=True)

        class Late(Exception):
            pass

        def late(*_):
            raise Late

        def raise_late():
            try:
                signal.setitimer(signal.ITIMER_REAL, 0.3)
                reach(None)
            except Late:
                ended.append("late")

        ended, inside = [], []

        def hook(event, args):
            # In the middle of a load, which a load of this hook interrupts: that one is the second.
            if event == "exec" and len(inside) < 2:
                inside.append(1)
                raise_late()
                # For what the hook has interrupted.
                signal.setitimer(signal.ITIMER_REAL, 0.3)

        signal.signal(signal.SIGALRM, late)
        sys.addaudithook(hook)
        raise_late()
        say(ended=ended)

    said = kernel(hanging, program, echo_server.host, echo_server.port)
    assert said == {"ended": ["late"] * 3}


def test_only_what_is_called_later_is_of_ours_in_the_place_of_addaudithook():
    def program():
        import pywrap

        original = sys.addaudithook
        pywrap.install("socks5h://127.0.0.1:1")
        hooks = []
        for name in ("first", "second"):
            sys.addaudithook(lambda event, args, name=name: hooks.append(name) if event == "mine" else None)
            sys.audit("mine")
            pywrap.uninstall()
        say(hooks=hooks, is_back=sys.addaudithook is original, name=sys.addaudithook.__name__)

    said = run(sys.executable, "-c", source_of(program)).json
    assert said == {"hooks": ["first", "first", "second"], "is_back": True, "name": "addaudithook"}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("lets_pass", ["nothing", "what is no OSError", "everything"])
def test_a_finder_that_connects_at_every_import_leaves_signals_and_the_program_alone(
    when, lets_pass, proxy, echo_server
):
    """It imports ``socket`` itself ``before`` that was patched, or ``after`` it."""
    ran = run(
        *pysocksify("-x", proxy.url(), "--loopback", "proxy"),
        *program("finder_connects.py"),
        *(echo_server.host, echo_server.port, when, lets_pass),
    )
    assert ran.json["masks"] == [[]]
    assert ran.json["limit"] == 1000
    assert ran.json["reached"] == "hello"


# What the program does, and what the handler does in the middle of that. Each checks its own result.
def nonblocking(port=None):
    with socket.socket() as sock:
        sock.setblocking(False)
        # At once where the handler has come in the middle of what the thread would need.
        host, port = sys.argv[1], port or int(sys.argv[2])
        error = sock.connect_ex((host, port))
        if error == errno.EINPROGRESS:
            error = wait_writable(sock)
        if not error:
            assert sock.getpeername() == (host, port)
            assert echo(sock) == "hello"
        return error


def connected():
    assert nonblocking() == 0


def refused():
    assert nonblocking(1) == errno.ECONNREFUSED


def abandoned():
    with socket.socket() as sock:
        sock.setblocking(False)
        assert sock.connect_ex((sys.argv[1], int(sys.argv[2]))) in (0, errno.EINPROGRESS)
        sock.dup().close()


def forgotten():
    tcp, udp = socket.socket(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for sock in (tcp, udp):
        sock.setblocking(False)
    assert tcp.connect_ex((sys.argv[1], int(sys.argv[2]))) in (0, errno.EINPROGRESS)
    udp.sendto(b"forgotten", (sys.argv[1], int(sys.argv[3])))


def blocking():
    assert reach() == "hello"


# The list is as long as the number of the next name.
numbers = []


def names():
    numbers.append(1)
    name = f"n{len(numbers)}.test"
    assert socket.getaddrinfo(name, 80)[0][4][0] == socket.gethostbyname(name)


def datagrams(timeout=PATIENCE):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout)
        sock.sendto(b"x", (sys.argv[1], int(sys.argv[3])))
        assert select.select([sock], [], [], PATIENCE)[0], "no answer"
        assert sock.recv(10) == b"x"


def datagrams_nonblocking():
    datagrams(0)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        (blocking, connected),
        (connected, connected),
        (refused, forgotten),
        (abandoned, abandoned),
        (forgotten, forgotten),
        (names, names),
        (datagrams, connected),
        (datagrams_nonblocking, datagrams_nonblocking),
    ],
)
def test_signals_may_do_anything_in_the_middle_of_every_call(outer, inner, proxy, echo_server, echo):
    def program():
        faulthandler.dump_traceback_later(50, exit=True)
        warnings.simplefilter("ignore")
        # CPython as well imports something at the first use, and is not ready for a handler there.
        "name".encode("idna")
        reach()
        storm(inner)
        while len(heard) < TIMES:
            outer()
        say(went_wrong=went_wrong)

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port, echo.port)
    assert said == {"went_wrong": []}


def test_exceptions_out_of_a_handler_leave_no_lock_behind(proxy, echo_server, echo):
    def program():
        faulthandler.dump_traceback_later(50, exit=True)
        warnings.simplefilter("ignore")

        class Enough(Exception):
            pass

        def raising(*_):
            handler(lambda: None)
            raise Enough

        reach()
        signal.signal(signal.SIGALRM, raising)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL)
        # The program lets go of what is pending: its errors are its own.
        while True:
            try:
                while len(heard) < TIMES:
                    try:
                        abandoned()
                        names()
                    except (Enough, OSError):
                        pass
                break
            except Enough:
                pass
        results = []
        thread = threading.Thread(target=lambda: results.append([nonblocking(), reach()]))
        thread.start()
        thread.join(PATIENCE)
        say(results=results)

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port, echo.port)
    assert said == {"results": [[0, "hello"]]}


def test_eventlet_leaves_our_locks_alone_and_says_nothing_of_them(proxy, echo_server):
    def program():
        import socket
        import sys

        socket.create_connection((sys.argv[1], int(sys.argv[2]))).close()
        import eventlet

        eventlet.monkey_patch()
        from pywrap.intercept import patch_on_import

        print(type(patch_on_import._registry.lock._lock).__module__)

    ran = run(
        *pysocksify("-x", proxy.url(), "--loopback", "proxy"),
        sys.executable,
        "-W",
        "ignore",
        "-c",
        source_of(program),
        *(echo_server.host, str(echo_server.port)),
    )
    assert ran.out == "_thread\n"
    assert "greened" not in ran.err


def test_threads_that_connect_at_once_load_us_once(proxy, echo_server):
    words = echo_server.host, echo_server.port, 50
    ran = run(*pysocksify("-x", proxy.url(), "--loopback", "proxy"), *program("load_by_threads.py"), *words)
    assert ran.json == {"connected": 50, "twice": []}


@pytest.mark.parametrize("outer", ["connect", "listen", "close", "option"])
def test_what_waits_in_a_signal_handler_under_the_lock_gets_what_it_waits_for(
    outer, proxy, echo_server, echo
):
    """Other threads can take the lock meanwhile."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        # The one connection that it has room for.
        with socket.create_connection(full.getsockname()):
            ran = run(
                *pysocksify("-x", proxy.url(), "--loopback", "proxy", "--listen", "bind"),
                *program("wait_under_lock.py"),
                *(echo_server.host, echo_server.port, echo.port, full.getsockname()[1], outer),
            )
    inner = [
        *("another socket, without a limit", "another socket, with a limit", "the same socket"),
        *("a listener", "the name of a listener", "a connection", "getaddrinfo"),
        *("a datagram, without a limit", "a datagram, with a limit"),
    ]
    assert {name: results for name, (results, _) in ran.json.items()} == dict.fromkeys(inner, ["True"])
    # Fewer where a listener, or what the handler waits for, has come to its end before: most have not.
    assert sum(were_many for _, were_many in ran.json.values()) > len(inner) / 2


# ---------------------------------------------------------------- code that takes our modules away


def test_a_program_empties_the_tables_of_modules(proxy, echo_server):
    """As pex does: modules of ours leave sys.modules, and paths of packages are emptied in place."""

    def program():
        import subprocess

        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] == "pywrap":
                getattr(module, "__path__", []).clear()
                del sys.modules[name]
        subprocess.run([sys.executable, "-I", "-c", "import sys; assert sys.flags.isolated"], check=True)
        say(reached=reach())

    said = kernel(proxy.url(), program, echo_server.host, echo_server.port)
    assert said == {"reached": "hello"}
    assert proxy.asked == [("CONNECT", echo_server.host, echo_server.port)]
