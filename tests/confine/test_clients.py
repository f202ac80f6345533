"""Programs that people use, against the real servers that they are for, as root and as an ordinary user.

What is not installed is left out: ``scripts/try-confined`` installs all of it, and prints a table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.confine import servers
from tests.support import peers
from tests.support.child import source_of
from tests.support.confined import PAGE, need
from tests.support.datagram_servers import http3_server
from tests.support.run import TESTS, find_interpreter, program, pysocksify, run
from tests.support.servers import reference_server

NAME = "four.test"
SITE = f"http://{NAME}:{servers.FILES}"
# Debian's, which has Debian's libraries.
PYTHON = "/usr/bin/python3"


@pytest.fixture
def folder(client, request):
    """An empty folder of the user's own."""
    made = client.package / f"{request.node.originalname}-{client.user}"
    made.mkdir()
    if client.user != "root":
        os.chown(made, 65534, 65534)
    yield made
    shutil.rmtree(made)


def served(server):
    """A fixture of the session: ``server(networks, folder)``."""

    @pytest.fixture(scope="session")
    def made(network):
        # Not pytest's folder, which is root's alone.
        with tempfile.TemporaryDirectory(prefix="pysocksify-server-") as name:
            Path(name).chmod(0o755)
            try:
                with server(network, Path(name)) as found:
                    yield found
            except peers.Missing as err:
                pytest.skip(str(err))

    return made


files, ssh_server, ntp = map(served, (servers.files, servers.ssh, servers.ntp))
postgres, redis = map(served, (servers.postgres, servers.redis))


# ---------------------------------------------------------------- package managers


def test_apt_update(client, files, folder):
    need("apt-get")
    for name in ("lists/partial", "cache/archives/partial", "none"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources").write_text(f"deb [trusted=yes] {SITE}/debian ./\n")
    if client.user != "root":
        run("chown", "-R", "65534:65534", folder)
    settings = {
        **{"Dir::Etc::sourcelist": folder / "sources", "Dir::Etc::sourceparts": folder / "none"},
        **{"Dir::State::lists": folder / "lists", "Dir::State::status": folder / "status"},
        **{"Dir::Cache": folder / "cache", "Acquire::Languages": "none"},
    }
    words = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    client.run("apt-get", *words, "update")
    assert "greeting" in client.run("apt-cache", *words, "search", "greeting").out


def test_pip_install(client, files, folder):
    code = f"import sys; sys.path.insert(0, {str(_pip(client.package))!r}); import pip; sys.exit(pip.main())"
    options = ("--no-cache-dir", "--disable-pip-version-check", "--root-user-action", "ignore")
    where = ("--index-url", f"{SITE}/simple", "--trusted-host", NAME, "--target", folder)
    client.run(client.python, "-I", "-W", "ignore", "-c", code, "install", "-q", *options, *where, "greeting")
    assert (folder / "greeting.py").read_text() == "HELLO = 'hello'\n"


def _pip(package: Path) -> Path:
    """A folder that any user may read, with the pip that made this venv."""
    place = package / "pip"
    if not place.exists():
        import pip

        shutil.copytree(Path(pip.__file__).parent, place / "pip")
    return place


def test_npm_install(client, files, folder):
    need("npm")
    env = {"HOME": str(folder), "npm_config_update_notifier": "false"}
    words = ("install", "--registry", SITE, "--no-audit", "--no-fund", "--prefix", folder, "greeting")
    client.run("env", *(f"{name}={value}" for name, value in env.items()), "npm", *words)
    assert (folder / "node_modules" / "greeting" / "package.json").exists()


# ---------------------------------------------------------------- over SSH


@pytest.fixture
def ssh(ssh_server, folder, client):
    need("ssh")
    shutil.copy(ssh_server / "key", folder)
    if client.user != "root":
        os.chown(folder / "key", 65534, 65534)
    (folder / "known_hosts").write_text(f"[{NAME}]:{servers.SSH} {(ssh_server / 'host.pub').read_text()}")
    files = f"-i {folder}/key -o UserKnownHostsFile={folder}/known_hosts"
    return f"ssh -F none -o BatchMode=yes {files} -p {servers.SSH}"


def test_ssh(client, ssh):
    assert client.run(*ssh.split(), f"root@{NAME}", "echo hello; exit 7", status=7).out == "hello\n"


def test_git_over_ssh(client, ssh, folder, tmp_path):
    need("git")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b")
    run(*git, "init", "-q", tmp_path / "there")
    (tmp_path / "there" / "file").write_text("hello\n")
    run(*git, "-C", tmp_path / "there", "add", ".")
    run(*git, "-C", tmp_path / "there", "commit", "-qm", "hello")
    url = f"root@{NAME}:{tmp_path}/there"
    client.run("env", f"GIT_SSH_COMMAND={ssh}", "git", "clone", "-q", url, folder / "here")
    assert (folder / "here" / "file").read_text() == "hello\n"


# ---------------------------------------------------------------- databases


def test_psql(client, postgres):
    need("psql")
    where = ("-h", NAME, "-p", str(servers.POSTGRES), "-U", "postgres")
    assert client.run("psql", *where, "-Atc", "select 'hello'").out == "hello\n"


def test_psycopg(client, postgres):
    code = (
        f"import psycopg2; c = psycopg2.connect(host='{NAME}', port={servers.POSTGRES}, user='postgres'); "
        "k = c.cursor(); k.execute(\"select 'hello'\"); print(k.fetchone()[0])"
    )
    assert python(client, "psycopg2", code) == "hello\n"


def test_redis_cli(client, redis):
    need("redis-cli")
    assert client.run("redis-cli", "-h", NAME, "-p", str(servers.REDIS), "ping").out == "PONG\n"


# ---------------------------------------------------------------- C libraries of Python, and another Python


def python(client, module, code):
    """What ``code`` prints in an unpatched Debian Python, if that has ``module``."""
    if run(PYTHON, "-I", "-c", f"import {module}", status=None).status:
        pytest.skip(f"Debian's {module} is not installed")
    return client.run(PYTHON, "-I", "-c", code).out


def test_pycurl(client):
    code = (
        "import io, pycurl; b = io.BytesIO(); c = pycurl.Curl(); "
        f"c.setopt(c.URL, '{PAGE}'); c.setopt(c.WRITEDATA, b); c.perform(); print(b.getvalue().decode())"
    )
    assert python(client, "pycurl", code) == "hello\n\n"


def test_aiodns(client):
    def program(name):
        import asyncio

        import aiodns

        async def main():
            print((await aiodns.DNSResolver().query(name, "A"))[0].host)

        asyncio.run(main())

    assert python(client, "aiodns", source_of(program, NAME)).startswith("198.18.")


def test_uvloop(client):
    def program(name, host):
        import asyncio

        import uvloop

        async def main():
            reader, writer = await asyncio.open_connection(name, 80)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            print((await reader.read()).decode()[-6:], end="")
            try:
                await asyncio.open_connection(host, 27)
            except ConnectionRefusedError:
                print("refused")

        uvloop.install()
        asyncio.run(main())

    assert python(client, "uvloop", source_of(program, NAME, servers.HOST)) == "hello\nrefused\n"


def test_grpc(client, network):
    code = (
        f"import grpc; c = grpc.insecure_channel('{NAME}:{servers.GRPC}'); "
        "print(c.unary_unary('/test.Echo/Say')(b'hello', timeout=30).decode())"
    )
    if run(PYTHON, "-I", "-c", "import grpc", status=None).status:
        pytest.skip("Debian's grpc is not installed")
    with servers.grpc(network, PYTHON):
        assert python(client, "grpc", code) == "hello\n"


def test_pypy(client):
    pypy = TESTS.parent / ".pythons" / "bin" / "pypy3"
    if not pypy.exists():
        pytest.skip("there is no PyPy (scripts/pythons)")
    code = f"import urllib.request as u; print(u.urlopen('{PAGE}').read().decode(), end='')"
    if client.run("test", "-x", pypy, status=None).status:
        pytest.skip(f"{client.user} may not execute it")
    assert client.run(pypy, "-c", code, options=()).out == "hello\n"


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.8"])
def test_a_python_that_is_too_old_to_be_patched(client, version):
    def program(page):
        try:
            from urllib.request import urlopen
        except ImportError:
            from urllib2 import urlopen

        print(urlopen(page).read().decode().strip())

    old = find_interpreter(version)
    if old is None:
        pytest.skip(f"no CPython {version}")
    if client.run("test", "-x", old, status=None).status:
        pytest.skip(f"{client.user} may not execute it")
    assert client.run(old, "-c", source_of(program, PAGE), options=()).out == "hello\n"


# ---------------------------------------------------------------- and others

MUSL = r"""
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
  char buffer[1000], ask[] = "GET / HTTP/1.0\r\n\r\n";
  if (getaddrinfo("four.test", "80", &hints, &found)) return 1;
  int s = socket(found->ai_family, SOCK_STREAM, 0);
  if (connect(s, found->ai_addr, found->ai_addrlen)) return 2;
  write(s, ask, sizeof ask - 1);
  for (ssize_t n; (n = read(s, buffer, sizeof buffer)) > 0;) write(1, buffer, n);
  return 0;
}
"""


def test_a_static_program_of_musl(client, folder):
    need("musl-gcc")
    subprocess.run(
        ["musl-gcc", "-static", "-x", "c", "-o", folder / "fetch", "-"], input=MUSL, text=True, check=True
    )
    assert client.run(folder / "fetch", options=()).out.endswith("\nhello\n")


def test_gobuster_which_is_written_in_go(client, files, folder):
    need("gobuster")
    (folder / "words").write_text("greeting\nnothing\n")
    found = client.run("gobuster", "dir", "-q", "-z", "-u", SITE, "-w", folder / "words", options=()).out
    assert "greeting" in found and "nothing" not in found


def test_rclone_which_is_written_in_go(client):
    need("rclone")
    ran = client.run("rclone", "--config", "/dev/null", "copyurl", "--stdout", PAGE, "-", options=())
    assert ran.out == "hello\n"


def test_chromium(client, folder):
    need("chromium")
    # Its own sandbox is not for root.
    own = ("--no-sandbox",) if client.user == "root" else ()
    quiet = ("--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage")
    where = ("--headless", f"--user-data-dir={folder}", "--dump-dom")
    own_folders = (f"HOME={folder}", f"TMPDIR={folder}")
    ran = client.run("env", *own_folders, "chromium", *own, *quiet, *where, PAGE, timeout=120)
    assert "hello" in ran.out


@pytest.mark.parametrize(
    ("name", "command", "said"),
    [
        ("ntpdate", ("ntpdate", "-q", NAME), "198.18."),
        (
            "chronyd",
            ("chronyd", "-U", "-Q", "-t", "20", f"server {NAME} iburst maxsamples 4"),
            "clock wrong by",
        ),
    ],
    ids=["ntpdate", "chronyd"],
)
def test_the_time(client, ntp, name, command, said):
    need(name)
    ran = client.run(*command, options=())
    assert said in ran.out + ran.err, str(ran)


@pytest.mark.parametrize("library", ["aioquic", "qh3"])
def test_http3_in_a_python_that_is_not_patched(cannot_confine, library):
    """On this machine's loopback, as the user that runs the tests: the libraries are in their venv alone."""
    if cannot_confine:
        pytest.skip(cannot_confine)
    python, script = program("udp_http3.py")
    with reference_server(listen=[("127.0.0.2", 0)]) as relay, http3_server() as server:
        command = pysocksify("--confine", "on", "-x", relay.url(), "--loopback", "proxy")
        words = (server.host, server.port, "localhost", server.ca_pem, 100_000, library)
        assert run(*command, python, "-I", script, *words).json["bytes"] == 100_000
        assert {*relay.udp_peers} == {(server.host, server.port)}
