"""``--check --confine``: whether this machine allows a confinement, tried step by step in a child."""

from __future__ import annotations

import os
import sys

from pywrap.confine import inside_sockets, mounts, namespaces
from pywrap.confine.remedies import explain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import NoReturn

_COLUMN = 34


def check() -> tuple[str, int]:
    """The findings as text, and 0 if programs can be confined here, 1 if not."""
    read, write = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.close(read)
        _try_all(write)
    os.close(write)
    with open(read, encoding="utf-8") as lines:
        text = lines.read()
    _, status = os.waitpid(child, 0)
    return text, 0 if os.waitstatus_to_exitcode(status) == 0 else 1


def _try_all(write: int) -> NoReturn:
    status = 1
    try:
        with open(write, "w", encoding="utf-8") as out:
            out.write(f"{'user':{_COLUMN}}{_user()}\n")
            for label, step in _steps():
                try:
                    found = step()
                except OSError as err:
                    cause, remedy = explain(err)
                    out.write(f"{label:{_COLUMN}}no: {cause}\nhint: {remedy}\n")
                    break
                out.write(f"{label:{_COLUMN}}{found}\n")
            else:
                out.write("\nprograms can be confined here\n")
                status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _user() -> str:
    return "root (no user namespace is needed)" if os.geteuid() == 0 else "an ordinary one"


def _steps() -> Iterator[tuple[str, Callable[[], str]]]:
    """The steps with their names, in the order in which a confinement takes them."""
    ipv6 = os.path.exists("/proc/sys/net/ipv6")
    port = namespaces.unprivileged_port()
    yield "namespaces", _yes(namespaces.enter)
    yield "addresses, routes, packet filter", _yes(lambda: namespaces.set_up(1.0, port))
    yield "own /etc/resolv.conf", _yes(mounts.set_up)
    made: list[inside_sockets.Sockets] = []
    yield (
        "transparent and packet sockets",
        _yes(lambda: made.append(inside_sockets.Sockets(inside_sockets.make(ipv6)))),
    )
    yield "IPv6", lambda: "yes" if ipv6 else "no: programs inside have IPv4 alone"
    yield "questions about listeners", lambda: _listeners(made[0])
    repeats = os.path.exists(f"/proc/sys/net/ipv4/{namespaces.LINEAR}")
    yield (
        "connect() ends with --timeout",
        lambda: "yes" if repeats else "no: after two minutes (Linux 6.5 has it)",
    )


def _yes(step: Callable[[], object]) -> Callable[[], str]:
    def tried() -> str:
        step()
        return "yes"

    return tried


def _listeners(made: inside_sockets.Sockets) -> str:
    from pywrap.confine.listeners import Listeners

    if Listeners(made.questions, os.getpid()).can_ask:
        return "yes"
    return "no inet_diag: the tables below /proc are read instead"
