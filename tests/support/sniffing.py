"""Tells of every packet that leaves a network namespace, other than to the proxy there."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

from tests.support import namespaces, peers
from tests.support.run import TESTS


class Sniffer:
    """Sees every packet that leaves the client's namespace."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def leaks(self) -> list[str]:
        """What has left since the last call and should not have."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        found: list[str] = json.loads(self._process.stdout.readline())
        return found


@contextlib.contextmanager
def sniffing(made: namespaces.Networks) -> Iterator[Sniffer]:
    """A sniffer in the client's namespace, beside what runs there."""
    words = (sys.executable, str(TESTS / "confine" / "sniffer.py"), *namespaces.INSIDE.values())
    command = [*made.at("client"), *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        sniffer = Sniffer(process)
        sniffer.leaks()
        yield sniffer
        assert process.stdin is not None
        process.stdin.close()


def give_default_routes(made: namespaces.Networks) -> None:
    """To the client, by the proxy, which forwards nothing: what is sent directly leaves, and is seen."""
    ip = peers.find("ip", package="iproute2")
    for family, gateway in namespaces.INSIDE.items():
        words = [*made.at("client"), ip, f"-{family}", "route", "add", "default", "via", gateway]
        subprocess.run(words, check=True)
