"""Where a program sends packets, as strace sees it: nothing that Python does can hide from it.

Calls that name an address are enough: a socket that sends without naming one was connected before.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from tests.support import peers
from tests.support.run import Ran, run

CALLS = ("connect", "sendto", "sendmsg", "sendmmsg")

# With -f each line begins with a process; a call that others interrupted is printed in two parts, of which
# either may have the address.
_CALL = re.compile(r"\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed>)")
_ADDRESS = re.compile(r"\{sa_family=(AF_\w+)(.*?)\}")
_IPV4 = re.compile(r'sin_port=htons\((\d+)\), sin_addr=inet_addr\("([^"]+)"\)')
_IPV6 = re.compile(r'sin6_port=htons\((\d+)\).*?inet_pton\(AF_INET6, "([^"]+)"')
_PATH = re.compile(r'sun_path=(@?"[^"]*")')


class Reached(NamedTuple):
    """An address that was given to the kernel; ``host`` is the path for AF_UNIX."""

    call: str
    family: str
    host: str
    port: int


class Trace:
    def __init__(self, lines: Iterable[str]) -> None:
        self.reached = [found for line in lines for found in parse(line)]

    @property
    def destinations(self) -> set[tuple[str, int]]:
        """(host, port) of every IPv4 and IPv6 address, whether the kernel let it or not."""
        return {(found.host, found.port) for found in self.reached if found.family in ("AF_INET", "AF_INET6")}

    @property
    def paths(self) -> set[str]:
        """The AF_UNIX sockets: those of nscd and systemd-resolved resolve names."""
        return {found.host for found in self.reached if found.family == "AF_UNIX"}

    @property
    def families(self) -> set[str]:
        return {found.family for found in self.reached}

    def __str__(self) -> str:
        return "\n".join(f"{found.call} {found.family} {found.host}:{found.port}" for found in self.reached)


def parse(line: str) -> list[Reached]:
    """The addresses that one line of strace's output sends something to."""
    call = _CALL.match(line)
    if call is None or call[1] not in CALLS:
        return []
    found = []
    for family, rest in _ADDRESS.findall(line):
        if family in ("AF_UNSPEC", "AF_NETLINK"):
            # Takes a connection back; asks the kernel about interfaces.
            continue
        address = _IPV4.search(rest) or _IPV6.search(rest)
        path = _PATH.search(rest)
        # An IPv4-mapped IPv6 address is IPv4.
        host = address[2].removeprefix("::ffff:") if address else path[1].strip('"') if path else ""
        found.append(Reached(call[1], family, host, int(address[1]) if address else 0))
    return found


def traced(*command: str | Path, **options: Any) -> tuple[Ran, Trace]:
    """Run ``command`` as ``run.run`` does, under strace.

    Raises:
        Missing: strace is not installed.
    """
    strace = peers.find("strace", package="strace")
    with tempfile.TemporaryDirectory(prefix="pysocksify-strace-") as directory:
        output = Path(directory, "trace")
        words = ("-f", "--seccomp-bpf", "-qq", "-e", f"trace={','.join(CALLS)}", "-e", "signal=none")
        ran = run(strace, *words, "-o", output, *command, **options)
        with output.open(errors="backslashreplace") as lines:
            return ran, Trace(lines)


def counted(*command: str | Path, **options: Any) -> Counter[str]:
    """The system calls between the first two of getppid(2), by all threads of ``command``, by their names.

    Raises:
        Missing: strace is not installed.
    """
    strace = peers.find("strace", package="strace")
    with tempfile.TemporaryDirectory(prefix="pysocksify-strace-") as directory:
        output = Path(directory, "trace")
        run(strace, "-f", "-qq", "-e", "signal=none", "-o", output, *command, **options)
        found: Counter[str] = Counter()
        marks = 0
        for line in output.read_text(errors="backslashreplace").splitlines():
            call = _CALL.match(line)
            if call is None or " resumed>" in line:
                continue
            if call[1] == "getppid":
                marks += 1
            elif marks == 1:
                found[call[1]] += 1
        assert marks == 2, "the program marks what is to be counted"
        return found
