"""Code of the program that comes in the middle of ours, in the same thread, and opens connections itself.

The programs run in child processes; ``faulthandler`` ends one that hangs, and says where.
"""

from __future__ import annotations

import pytest

from tests.intercept.child import under

WATCHDOG = """
import faulthandler
faulthandler.dump_traceback_later(50, exit=True)

def reach(timeout=PATIENCE):
    with socket.socket() as sock:
        sock.settimeout(timeout)
        sock.connect((host, port))
        return echo(sock)
"""

# Signals at intervals, which must be longer than a connection takes: in each handler there is one.
STORM = """
import signal
heard, went_wrong, TIMES = [], [], 100

def handler(*_):
    heard.append(1)
    if len(heard) == TIMES:
        signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        in_the_middle()
    except BaseException as err:
        went_wrong.append(repr(err))

def storm(interval):
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, interval, interval)

def calm():
    while len(heard) < TIMES:
        signal.pause()
"""


def test_signals_connect_while_the_first_connections_load_us(proxy, echo_server):
    said = under(
        proxy.url(),
        WATCHDOG
        + STORM
        + """
        import threading
        in_the_middle = reach
        results = []
        threads = [threading.Thread(target=lambda: results.append(reach())) for _ in range(3)]
        storm(0.002)
        for thread in threads:
            thread.start()
        results.append(reach())
        calm()
        for thread in threads:
            thread.join()
        say(results=results, went_wrong=went_wrong)
        """.replace("\n        ", "\n"),
        *(echo_server.host, echo_server.port),
    )
    assert said == {"results": ["hello"] * 4, "went_wrong": []}
    assert len(proxy.asked) == 104


# Each is set up, and opens a connection of its own in the middle of the first one's import.
INTRUDERS = {
    "finder": """
        class Finder:
            @staticmethod
            def find_spec(name, path=None, target=None):
                intrude()
        sys.meta_path.insert(0, Finder)
        """,
    "audit hook": """
        sys.addaudithook(lambda event, args: intrude() if event == "exec" else None)
        """,
    "trace function": """
        sys.settrace(lambda *args: intrude())
        """,
    "profile function": """
        sys.setprofile(lambda *args: intrude())
        """,
    "callback of the collector": """
        import gc
        gc.set_threshold(1)
        gc.callbacks.append(lambda *args: intrude())
        """,
    "finalizer": """
        import gc
        gc.set_threshold(1)
        class Cycle:
            def __init__(self):
                self.me = self
            def __del__(self):
                intrude()
                Cycle()
        Cycle()
        """,
}


@pytest.mark.parametrize("intruder", INTRUDERS.values(), ids=INTRUDERS)
def test_what_connects_in_the_middle_of_our_import_is_connected(intruder, proxy, echo_server):
    said = under(
        proxy.url(),
        WATCHDOG
        + f"""
        seen, inside = [], []

        def intrude():
            # Ten are enough, and one at a time, as anybody does who watches himself.
            if not inside and len(seen) < 10:
                inside.append(1)
                try:
                    seen.append(reach())
                except BaseException as err:
                    seen.append(repr(err))
                finally:
                    inside.pop()
        {intruder}
        first = reach()
        sys.settrace(None), sys.setprofile(None)
        say(first=first, seen=seen)
        """.replace("\n        ", "\n"),
        *(echo_server.host, echo_server.port),
    )
    assert said["first"] == "hello"
    assert set(said["seen"]) <= {"hello"}
    assert len(proxy.asked) == 1 + len(said["seen"])


def test_an_audit_hook_that_connects_without_end_gets_an_error_in_words(proxy, echo_server):
    said = under(
        proxy.url(),
        WATCHDOG
        + """
        went_wrong = []

        def hook(event, args):
            # Each look at a file connects, and the connection looks at files.
            if event == "open" and not went_wrong:
                try:
                    reach()
                except OSError as err:
                    went_wrong.append([err.errno == errno.EDEADLK, str(err)])
        sys.addaudithook(hook)
        say(first=reach(), went_wrong=went_wrong)
        """.replace("\n        ", "\n"),
        *(echo_server.host, echo_server.port),
    )
    assert said["first"] == "hello"
    ((is_deadlock, words),) = said["went_wrong"]
    assert is_deadlock and "pysocksify" in words
