"""What is behind the proxy of the confinement's tests, and how a confined program is started."""

from __future__ import annotations

import subprocess

from tests.support.run import environment

# Of the network behind the proxy, whose kernel refuses these in its own words.
UNREACHABLE, PROHIBITED, NO_NETWORK = "10.7.0.1", "10.8.0.1", "10.9.0.1"
UNREACHABLE_6, PROHIBITED_6, NO_NETWORK_6 = "fd00:7::1", "fd00:8::1", "fd00:9::1"
# Names that the proxy alone knows.
NAMES = {"four.test": "10.2.0.1", "six.test": "fd00:2::1", "twin.test": "10.2.0.1", "shut.test": "10.7.0.1"}

ECHO, GREETING, RESETTING, CLOSED, UDP_ECHO, UDP_CLOSED, HTTP = 7, 25, 26, 27, 9000, 9001, 80


def start(client, *program, options=("--confine", "on"), **how):
    """A confined program that is running."""
    how.setdefault("stdout", subprocess.PIPE)
    command = [*client.command(*options), *program]
    return subprocess.Popen(command, cwd=client.package, env=environment(), text=True, **how)
