"""Two networks with nothing between them but a proxy, made of the kernel's network namespaces; and one alone.

::

    client    10.1.0.1   ----   10.1.0.2    proxy    10.2.0.2   ----   10.2.0.1    server
              fd00:1::1         fd00:1::2            fd00:2::2         fd00:2::1

Neither end has a route to the other, and the proxy's kernel forwards nothing. Ports can be fixed here: no
process else is.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support import peers
from tests.support.run import environment, program

PORT = 1080

CLIENT = {4: "10.1.0.1", 6: "fd00:1::1"}
INSIDE = {4: "10.1.0.2", 6: "fd00:1::2"}
OUTSIDE = {4: "10.2.0.2", 6: "fd00:2::2"}
SERVER = {4: "10.2.0.1", 6: "fd00:2::1"}


class Networks:
    """The three namespaces; ``at(place)`` is what to put before a command to run it there."""

    def __init__(self) -> None:
        self._ip = peers.find("ip", package="iproute2")
        if os.geteuid() != 0:
            raise peers.Missing("network namespaces of our own need root")
        # Each xdist worker has its own.
        self.names = {place: f"pysocksify-{os.getpid()}-{place}" for place in ("client", "proxy", "server")}

    def at(self, place: str) -> tuple[str, ...]:
        return self._ip, "netns", "exec", self.names[place]

    def make(self) -> None:
        for place in self.names:
            self._do("netns", "add", self.names[place])
            self._in(place, "link", "set", "lo", "up")
        self._join("client", "out", CLIENT, "in", INSIDE)
        self._join("server", "out", SERVER, "out", OUTSIDE)
        # A new namespace may have taken this over from the machine's own.
        off = "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"
        for switch in off:
            subprocess.run([*self.at("proxy"), "sh", "-c", f"echo 0 >{switch}"], check=True)

    def remove(self) -> None:
        for name in self.names.values():
            subprocess.run([self._ip, "netns", "delete", name], stderr=subprocess.DEVNULL)

    def _join(
        self, place: str, device: str, own: dict[int, str], proxys: str, addresses: dict[int, str]
    ) -> None:
        peer = ("peer", "name", proxys, "netns", self.names["proxy"])
        self._in(place, "link", "add", device, "type", "veth", *peer)
        for where, name, each in ((place, device, own), ("proxy", proxys, addresses)):
            self._in(where, "addr", "add", f"{each[4]}/24", "dev", name)
            # Without looking for duplicates, which takes a second in which it cannot be used.
            self._in(where, "addr", "add", f"{each[6]}/64", "dev", name, "nodad")
            self._in(where, "link", "set", name, "up")

    def _in(self, place: str, *words: str) -> None:
        self._do("-n", self.names[place], *words)

    def _do(self, *words: str) -> None:
        subprocess.run([self._ip, *words], check=True)


@contextlib.contextmanager
def networks() -> Iterator[Networks]:
    made = Networks()
    try:
        made.make()
        yield made
    finally:
        made.remove()


@contextlib.contextmanager
def running(made: Networks, place: str, *command: str, ready: tuple[str, int]) -> Iterator[None]:
    """Run ``command`` at ``place`` while the context lasts, from when it accepts connections at ``ready``.

    The kernel ends it when this process is killed, and nothing else could.
    """
    setpriv = peers.find("setpriv", package="util-linux")
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            [setpriv, "--pdeathsig", "KILL", *made.at(place), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment(),
            start_new_session=True,
        )
        try:
            waited = subprocess.run(
                [*made.at(place), *program("wait_for_port.py"), *map(str, ready), str(peers.SECONDS_TO_START)]
            )
            if waited.returncode:
                output.seek(0)
                raise peers.DidNotStart(f"{command[0]} said:\n{output.read().decode()}")
            yield
        finally:
            process.terminate()
            process.wait(peers.SECONDS_TO_STOP)


@contextlib.contextmanager
def reference(made: Networks) -> Iterator[None]:
    """The reference server, on both addresses inside."""
    listen = [word for host in INSIDE.values() for word in ("--listen", _joined(host))]
    # Destinations are near by, which clients without a password are not allowed.
    near = ("--allow", "0.0.0.0/0,::/0")
    command = (sys.executable, "-m", "pywrap.server", *listen, *near)
    with running(made, "proxy", *command, ready=(INSIDE[6], PORT)):
        yield


@contextlib.contextmanager
def dante(made: Networks) -> Iterator[None]:
    """Dante's sockd, likewise."""
    binary = peers.find("danted", "sockd", package="dante-server")
    with tempfile.TemporaryDirectory(prefix="pysocksify-dante-") as name:
        # Its children, which are nobody, look into it.
        Path(name).chmod(0o711)
        config = Path(name) / "danted.conf"
        config.write_text(_DANTE.format(inside=INSIDE, port=PORT, log=Path(name) / "log"))
        command = (binary, "-f", str(config), "-p", str(Path(name) / "pid"))
        with running(made, "proxy", *command, ready=(INSIDE[6], PORT)):
            yield


_DANTE = """\
logoutput: {log}
internal: {inside[4]} port = {port}
internal: {inside[6]} port = {port}
external: out
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 0/0 to: 0/0 }}
client pass {{ from: ::/0 to: ::/0 }}
socks pass {{ from: 0/0 to: 0/0 }}
socks pass {{ from: ::/0 to: ::/0 }}
socks pass {{ from: 0/0 to: ::/0 }}
socks pass {{ from: ::/0 to: 0/0 }}
"""


def alone_with_fast_open(setting: int) -> tuple[str, ...]:
    """Like ``alone``. ``setting`` is its kernel's for TCP Fast Open.

    1: clients may; 2: servers may; 0x400: all that listen do.
    """
    return alone(f"echo {setting} >/proc/sys/net/ipv4/tcp_fastopen")


def alone(setting_up: str = "true") -> tuple[str, ...]:
    """What to put before a command to run it in a namespace of its own, which has a loopback interface.

    ``setting_up`` is a command of the shell that comes first.

    Raises:
        peers.Missing: it is not allowed here.
    """
    unshare = peers.find("unshare", package="util-linux")
    enter = (unshare, "--user", "--map-root-user", "--net", "sh", "-c")
    prepare = f"ip link set lo up && {setting_up}"
    if subprocess.run([*enter, prepare], capture_output=True).returncode:
        raise peers.Missing("a network namespace of one's own is not allowed here")
    return *enter, f'{prepare} && exec "$@"', "sh"


def _joined(host: str) -> str:
    return f"[{host}]:{PORT}" if ":" in host else f"{host}:{PORT}"


def url(family: int) -> str:
    return f"socks5h://{_joined(INSIDE[family])}"
