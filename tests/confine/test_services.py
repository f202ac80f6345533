"""What the tests themselves start ends with them, whatever becomes of them."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import namespaces, peers
from tests.support.child import source_of
from tests.support.processes import children, gone, wait_until
from tests.support.run import environment

ROOT = Path(__file__).parents[2]


def hold_a_service(root):
    """Run a service in namespaces of its own until a signal ends this."""
    sys.path.insert(0, root)
    from tests.support import namespaces

    with namespaces.networks() as made:
        command = (sys.executable, "-m", "http.server", "--bind", namespaces.SERVER[4], "80")
        with namespaces.running(made, "server", *command, ready=(namespaces.SERVER[4], 80)):
            print(json.dumps(made.names), flush=True)
            signal.pause()


def test_a_service_ends_with_a_test_run_that_is_killed():
    try:
        ip = namespaces.Networks().at("client")[0]
    except peers.Missing as err:
        pytest.skip(str(err))
    command = (sys.executable, "-c", source_of(hold_a_service, str(ROOT)))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as runner:
        names = json.loads(runner.stdout.readline())
        (service,) = children(runner.pid)
        runner.kill()
    try:
        wait_until(lambda: gone(service))
    finally:
        for name in names.values():
            subprocess.run([ip, "netns", "delete", name], check=True)
