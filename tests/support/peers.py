"""Proxies that are not ours, each started for the tests on a port of its own.

``microsocks()``, ``dante()``, ``ssh_dynamic()``, for HTTP CONNECT ``tinyproxy()`` and ``proxy_py()``, and for
names ``tor()`` and ``dnsmasq()`` are context managers that yield a ``Peer`` which accepts connections. They
raise ``Missing`` when the program is not installed, and ``DidNotStart`` with what it printed when it does not
come up.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

HOST = "127.0.0.1"

# A busy machine with an xdist worker for each processor takes its time.
SECONDS_TO_START = 20
SECONDS_TO_STOP = 10
POLL = 0.01
ATTEMPTS = 5

# Daemons live here, and Debian leaves it out of the PATH of ordinary users.
SEARCH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin", "/sbin"])


class Peer(NamedTuple):
    name: str
    host: str
    port: int
    # Where it writes what it did, as long as it runs. Of those here only Dante and sshd do.
    log: Path
    username: str | None = None
    password: str | None = None


def wait_for_log(peer: Peer, text: str) -> None:
    """Wait until ``peer`` has written ``text``: some is told at the end of what it is about."""
    deadline = time.monotonic() + SECONDS_TO_START
    while text not in (log := peer.log.read_text(errors="replace")):
        assert time.monotonic() < deadline, f"{text!r} is not in the log of {peer.name}:\n{log}"
        time.sleep(POLL)


class Missing(Exception):
    """A server is not installed."""


class DidNotStart(Exception):
    """A server gave up, or did not accept a connection in time."""


def microsocks(
    user: str | None = None, password: str | None = None
) -> contextlib.AbstractContextManager[Peer]:
    """SOCKS5 with CONNECT alone. Asks for ``user`` and ``password`` when they are given."""
    binary = find("microsocks", package="microsocks")
    credentials = [] if user is None else ["-u", user, "-P", password or ""]

    def command(port: int, _: Path) -> list[str]:
        return [binary, "-i", HOST, "-p", str(port), *credentials]

    return _peer("microsocks", command, user, password)


def dante() -> contextlib.AbstractContextManager[Peer]:
    """SOCKS4 and 5, without authentication: its usernames would be accounts of this machine.

    It takes the address that announces a name in 4a for one to connect to (1.4.2). Its rules
    let every command pass: BIND and UDP ASSOCIATE as well, the latter to IPv6 too. A BIND waits
    for nobody else when a stranger has come, and refuses :: (any IPv6 address), of which it
    cannot tell which of its own leads there.
    """
    binary = find("danted", "sockd", package="dante-server")

    def command(port: int, directory: Path) -> list[str]:
        config = directory / "danted.conf"
        config.write_text(_DANTE.format(host=HOST, port=port, log=directory / "log", users=_dante_users()))
        return [binary, "-f", str(config), "-p", str(directory / "pid")]

    return _peer("dante", command)


_DANTE = """\
logoutput: {log}
internal: {host} port = {port}
external: lo
socksmethod: none
clientmethod: none
{users}
client pass {{ from: 0/0 to: 0/0 }}
client pass {{ from: ::/0 to: ::/0 }}
socks pass {{ from: 0/0 to: 0/0 log: error connect disconnect }}
socks pass {{ from: 0/0 to: ::/0 log: error connect disconnect }}
"""


def _dante_users() -> str:
    # Only root can change to another user, and Dante refuses to stay root throughout.
    return "user.privileged: root\nuser.unprivileged: nobody" if os.geteuid() == 0 else ""


@contextlib.contextmanager
def ssh_dynamic() -> Iterator[Peer]:
    """``ssh -D``: SOCKS4, 4a and 5, through an sshd of our own and keys made for it."""
    ssh = find("ssh", package="openssh-client")
    with openssh_server() as (directory, sshd):

        def command(port: int, _: Path) -> list[str]:
            options = [
                # Neither the user's configuration nor the system's; nor an agent's keys.
                *("-F", "/dev/null"),
                *("-i", str(directory / "user_key")),
                *("-o", "IdentitiesOnly=yes"),
                *("-o", "IdentityAgent=none"),
                *("-o", "BatchMode=yes"),
                *("-o", "StrictHostKeyChecking=yes"),
                *("-o", f"UserKnownHostsFile={directory / 'known_hosts'}"),
                *("-o", "GlobalKnownHostsFile=/dev/null"),
                *("-o", "ExitOnForwardFailure=yes"),
                *("-p", str(sshd.port)),
            ]
            return [
                ssh,
                *options,
                "-N",
                "-D",
                f"{HOST}:{port}",
                f"{pwd.getpwuid(os.geteuid()).pw_name}@{HOST}",
            ]

        with contextlib.ExitStack() as stack:
            try:
                peer = stack.enter_context(_peer("ssh -D", command))
            except DidNotStart as err:
                # "Permission denied": only the other side knows why.
                raise DidNotStart(f"{err}and sshd:\n{sshd.log.read_text()}") from None
            yield peer


@contextlib.contextmanager
def openssh_server() -> Iterator[tuple[Path, Peer]]:
    """An sshd, and the directory with a key that opens it."""
    binary = find("sshd", package="openssh-server")
    keygen = find("ssh-keygen", package="openssh-client")
    if os.geteuid() == 0:
        # Debian's init script makes it; without it sshd run by root does not start.
        os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pysocksify-ssh-") as name:
        directory = Path(name)
        for key in ("host_key", "user_key"):
            subprocess.run(
                [keygen, "-q", "-t", "ed25519", "-N", "", "-C", key, "-f", str(directory / key)],
                check=True,
                stdin=subprocess.DEVNULL,
            )
        shutil.copy(directory / "user_key.pub", directory / "authorized_keys")

        def command(port: int, own: Path) -> list[str]:
            config = directory / "sshd_config"
            config.write_text(_SSHD.format(host=HOST, port=port, directory=directory))
            host_key = (directory / "host_key.pub").read_text()
            (directory / "known_hosts").write_text(f"[{HOST}]:{port} {host_key}")
            # sshd re-executes itself, and so insists on an absolute path; -D keeps it in the foreground.
            return [binary, "-D", "-E", str(own / "log"), "-f", str(config)]

        with _peer("sshd", command) as peer:
            yield directory, peer


# StrictModes looks at who may write to the directories above the key, and /tmp is everybody's.
_SSHD = """\
ListenAddress {host}
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
AllowTcpForwarding yes
"""


def tinyproxy(
    user: str | None = None, password: str | None = None
) -> contextlib.AbstractContextManager[Peer]:
    """HTTP CONNECT to any port. Asks for ``user`` and ``password`` when they are given."""
    binary = find("tinyproxy", package="tinyproxy")
    credentials = "" if user is None else f"BasicAuth {user} {password}"

    def command(port: int, directory: Path) -> list[str]:
        config = directory / "tinyproxy.conf"
        config.write_text(
            _TINYPROXY.format(host=HOST, port=port, directory=directory, credentials=credentials)
        )
        return [binary, "-d", "-c", str(config)]

    return _peer("tinyproxy", command, user, password)


_TINYPROXY = """\
Listen {host}
Port {port}
Timeout 60
MaxClients 600
LogFile "{directory}/log"
LogLevel Connect
{credentials}
"""


def proxy_py(user: str | None = None, password: str | None = None) -> contextlib.AbstractContextManager[Peer]:
    """HTTP CONNECT in Python, of the package proxy.py. Asks for ``user`` and ``password`` likewise."""
    credentials = [] if user is None else ["--basic-auth", f"{user}:{password}"]

    def command(port: int, directory: Path) -> list[str]:
        where = ["--hostname", HOST, "--port", str(port), "--log-file", str(directory / "log")]
        own = ["--data-dir", str(directory), "--num-workers", "1", "--num-acceptors", "1"]
        return [sys.executable, "-m", "proxy", *where, *own, *credentials]

    return _peer("proxy.py", command, user, password)


def tor(*mapped: str) -> contextlib.AbstractContextManager[Peer]:
    """Tor without a network: what it answers by itself is RESOLVE for names that are ``mapped``.

    Each is ``NAME ADDRESS``. The directory authority that it would ask is at a port without a listener here.
    """
    binary = find("tor", package="tor")
    nobody = "0123456789ABCDEF0123456789ABCDEF01234567"

    def command(port: int, directory: Path) -> list[str]:
        config = directory / "torrc"
        config.write_text(
            f"SocksPort {HOST}:{port}\n"
            + f"DataDirectory {directory}/data\n"
            + "UseDefaultFallbackDirs 0\n"
            + f"DirAuthority nobody orport=1 no-v2 v3ident={nobody} {HOST}:1 {nobody}\n"
            + "".join(f"MapAddress {each}\n" for each in mapped)
        )
        return [binary, "--defaults-torrc", "/dev/null", "-f", str(config)]

    return _peer("tor", command)


def dnsmasq(*options: str) -> contextlib.AbstractContextManager[Peer]:
    """A name server that knows what ``options`` tell it of ``.example``, and asks no other."""
    binary = find("dnsmasq", package="dnsmasq-base")

    def command(port: int, directory: Path) -> list[str]:
        own = [
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--local=/example/",
        ]
        where = [f"--listen-address={HOST}", "--bind-interfaces", f"--port={port}"]
        user = pwd.getpwuid(os.geteuid()).pw_name
        return [binary, *own, *where, f"--user={user}", f"--pid-file={directory}/pid", *options]

    return _peer("dnsmasq", command)


def find(*names: str, package: str) -> str:
    """The absolute path of the first of ``names`` that is installed.

    Raises:
        Missing: the text names Debian's package.
    """
    for name in names:
        if path := shutil.which(name, path=SEARCH):
            return path
    raise Missing(f"{names[0]} is not installed (Debian: apt-get install {package})")


# ---------------------------------------------------------------- starting and ending


@contextlib.contextmanager
def _peer(
    name: str,
    command: Callable[[int, Path], list[str]],
    user: str | None = None,
    password: str | None = None,
) -> Iterator[Peer]:
    """Run ``command(port, directory)`` as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="pysocksify-peer-") as temporary:
        directory = Path(temporary)
        # Dante's unprivileged children look into it.
        directory.chmod(0o711)
        process, port = _start_on_a_free_port(name, command, directory)
        try:
            yield Peer(name, HOST, port, directory / "log", user, password)
        finally:
            _stop(process)


def _start_on_a_free_port(
    name: str, command: Callable[[int, Path], list[str]], directory: Path
) -> tuple[subprocess.Popen[bytes], int]:
    for attempt in range(ATTEMPTS):
        output = directory / f"output-{attempt}"
        with _free_port() as port, output.open("wb") as file:
            process = subprocess.Popen(
                command(port, directory),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=directory,
                env={**os.environ, "TMPDIR": str(directory)},
                # Its children are in its group, and a Ctrl-C for pytest is not for them.
                start_new_session=True,
            )
            try:
                if _accepts(process, port):
                    return process, port
                status = process.poll()
            except BaseException:
                _stop(process)
                raise
        _stop(process)
        logs = [path for path in (output, directory / "log") if path.exists()]
        said = "".join(path.read_text(errors="replace") for path in logs)
        if "in use" not in said.lower():
            break
    ended = "accepted no connection" if status is None else f"ended with status {status}"
    raise DidNotStart(f"{name} {ended}; it said:\n{said}")


@contextlib.contextmanager
def _free_port() -> Iterator[int]:
    """A port that the server can take and no other process gets meanwhile.

    Without that, ssh takes a while to log in and then another worker's server has the port:
    our connection was accepted, by the wrong one.
    """
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        # Two sockets may have one port if both say so and neither listens. All servers here do.
        # Not before our own bind(): then the kernel could choose a port that is shared already.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        yield int(sock.getsockname()[1])


def _accepts(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + SECONDS_TO_START
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(POLL)
        else:
            return True
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        # Its group too: children outlive a parent that had no chance to end them.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
