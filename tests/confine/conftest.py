"""A client that is alone with a proxy, as root and as an ordinary user; and what it sends beside that.

The namespaces are those of ``tests.support.namespaces``. The client has default routes, so that what leaves
the confinement leaves the machine: ``Sniffer.leaks`` has each packet on any interface that is not of a TCP
connection to the proxy, nor of UDP to its relay.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import namespaces, peers
from tests.support.confined import FILES, HTTP, NAMES, as_user, python_of, skip_where_forbidden
from tests.support.namespaces import SERVER
from tests.support.run import Ran, run
from tests.support.sniffing import Sniffer, give_default_routes, sniffing

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NOBODY = "65534"


class Client:
    """Runs programs in the client's namespace, as ``user``."""

    def __init__(
        self, made: namespaces.Networks, sniffer: Sniffer, user: str, package: Path, python: str
    ) -> None:
        self.made = made
        self.sniffer = sniffer
        self.user = user
        self.package = package
        self.python = python

    def command(self, *options: str | Path, proxy: str = namespaces.url(4)) -> tuple[str, ...]:
        """The words before a program."""
        words = (*self.made.at("client"), *as_user(self.user))
        return (*words, self.python, "-m", "pywrap", "-x", proxy, *map(str, options), "--")

    def run(self, *program: str | Path, options: tuple[str, ...] = ("--confine", "on"), **how: object) -> Ran:
        """``tests.support.run.run`` of a confined ``program``."""
        how.setdefault("cwd", self.package)
        return run(*self.command(*options), *program, **how)  # type: ignore[arg-type]

    def inside(self, name: str, *arguments: object, options: tuple[str, ...] = (), **how: object) -> object:
        """What function ``name`` of ``inside.py`` returns, in a Python that is not patched."""
        words = (self.python, "-I", "-S", self.package / "inside.py", name, json.dumps(arguments))
        return self.run(*words, options=("--confine", "on", *options), **how).json


@pytest.fixture(scope="session")
def sniffer(network: namespaces.Networks) -> Iterator[Sniffer]:
    with sniffing(network) as made:
        yield made


@pytest.fixture(scope="session")
def package() -> Iterator[Path]:
    """The package and ``inside.py`` where every user may read them."""
    with tempfile.TemporaryDirectory(prefix="pysocksify-confine-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copytree(ROOT / "pywrap", folder / "pywrap", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "inside.py", folder)
        subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=True)
        yield folder


@pytest.fixture(scope="session")
def network() -> Iterator[namespaces.Networks]:
    """The namespaces, with the reference server between them and services behind it."""
    try:
        peers.find("setpriv", package="util-linux")
        with namespaces.networks() as made, _proxy(made), _services(made):
            give_default_routes(made)
            yield made
    except peers.Missing as err:
        skip_where_forbidden(str(err))


@pytest.fixture(params=["root", "nobody"])
def client(
    request: pytest.FixtureRequest, network: namespaces.Networks, sniffer: Sniffer, package: Path
) -> Iterator[Client]:
    """Each of the two users in turn; nothing of what it runs may have left the confinement."""
    found = Client(network, sniffer, request.param, package, python_of(request.param))
    _need_confinement(found)
    yield found
    assert sniffer.leaks() == []


_reasons: dict[str, str] = {}


def _need_confinement(client: Client) -> None:
    if client.user not in _reasons:
        ran = run(*client.command("--confine", "on"), "true", status=None, cwd=client.package)
        _reasons[client.user] = ran.err if ran.status else ""
    if _reasons[client.user]:
        skip_where_forbidden(_reasons[client.user])


def _ip(made: namespaces.Networks, place: str, *words: str) -> None:
    subprocess.run([peers.find("ip", package="iproute2"), "-n", made.names[place], *words], check=True)


@contextlib.contextmanager
def _proxy(made: namespaces.Networks) -> Iterator[None]:
    for kind, net, net_6 in (
        ("unreachable", "10.7.0.0/16", "fd00:7::/32"),
        ("prohibit", "10.8.0.0/16", "fd00:8::/32"),
    ):
        _ip(made, "proxy", "route", "add", kind, net)
        _ip(made, "proxy", "-6", "route", "add", kind, net_6)
    with tempfile.NamedTemporaryFile("w", prefix="pysocksify-hosts-") as hosts:
        hosts.write("127.0.0.1 localhost\n" + "".join(f"{ip} {name}\n" for name, ip in NAMES.items()))
        hosts.flush()
        listen = " ".join(f"--listen {url.partition('://')[2]}" for url in map(namespaces.url, (4, 6)))
        server = f"exec {sys.executable} -m pywrap.server --allow 0.0.0.0/0 --allow ::/0 {listen}"
        script = f"mount --bind {hosts.name} /etc/hosts && {server}"
        command = ("unshare", "--mount", "sh", "-c", script)
        ready = (namespaces.INSIDE[6], namespaces.PORT)
        with namespaces.running(made, "proxy", *command, ready=ready):
            yield


@contextlib.contextmanager
def _services(made: namespaces.Networks) -> Iterator[None]:
    command = (sys.executable, str(HERE / "services.py"), *namespaces.SERVER.values())
    with namespaces.running(made, "server", *command, ready=(namespaces.SERVER[6], HTTP)):
        yield


@pytest.fixture(scope="session")
def files(network, tmp_path_factory):
    """A web server with a git repository and a package in it."""
    root = tmp_path_factory.mktemp("files")
    repository = root / "repository"
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(repository))
    subprocess.run(["git", "init", "-q", repository], check=True)
    (repository / "file").write_text("hello\n")
    for words in (("add", "."), ("commit", "-qm", "hello"), ("update-server-info",)):
        subprocess.run([*git, *words], check=True)
    command = (sys.executable, "-m", "http.server", "-d", str(root), "--bind", SERVER[4], str(FILES))
    with namespaces.running(network, "server", *command, ready=(SERVER[4], FILES)):
        yield root


FORBID = "echo 0 >/proc/sys/user/max_user_namespaces; echo 0 >/proc/sys/user/max_net_namespaces"


@pytest.fixture
def forbidden():
    words = (peers.find("unshare", package="util-linux"), "--user", "--map-root-user", "sh", "-c")
    if subprocess.run([*words, FORBID], capture_output=True).returncode:
        pytest.skip("this machine has no user namespaces whose limits could be lowered")
    return *words, f'{FORBID}; exec "$@"', "sh"
