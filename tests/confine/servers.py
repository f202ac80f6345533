"""Real servers in the network behind the proxy, for the programs that ``test_clients`` runs.

Each is a context manager; the fixtures of ``test_clients`` have one of each for the session.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import pwd
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.support import namespaces, peers
from tests.support.child import source_of

HOST = namespaces.SERVER[4]
FILES, SSH, POSTGRES, REDIS, GRPC = 8081, 2222, 5432, 6379, 50051

POSTGRES_FOLDERS = "/usr/lib/postgresql"


@contextlib.contextmanager
def files(made: namespaces.Networks, folder: Path) -> Iterator[Path]:
    """An HTTP server of ``folder``, in which are the package indexes of apt, pip and npm."""
    _apt_index(folder / "debian")
    _pip_index(folder / "simple" / "greeting")
    _npm_index(folder)
    command = (sys.executable, "-m", "http.server", "-d", str(folder), "--bind", HOST, str(FILES))
    with namespaces.running(made, "server", *command, ready=(HOST, FILES)):
        yield folder


@contextlib.contextmanager
def ssh(made: namespaces.Networks, folder: Path) -> Iterator[Path]:
    """OpenSSH, which takes ``folder/key`` for root."""
    sshd = peers.find("sshd", package="openssh-server")
    keygen = peers.find("ssh-keygen", package="openssh-client")
    for name in ("host", "key"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "key.pub", folder / "authorized")
    (folder / "config").write_text(
        f"ListenAddress {HOST}:{SSH}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "PermitRootLogin prohibit-password\nStrictModes no\nUsePAM no\nPidFile none\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with namespaces.running(made, "server", sshd, "-D", "-f", str(folder / "config"), ready=(HOST, SSH)):
        yield folder


@contextlib.contextmanager
def postgres(made: namespaces.Networks, folder: Path) -> Iterator[None]:
    """PostgreSQL, in which any user is trusted."""
    versions = sorted(Path(POSTGRES_FOLDERS).glob("*/bin/postgres"))
    if not versions:
        raise peers.Missing("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    owner = pwd.getpwnam("postgres")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    user = (peers.find("setpriv", package="util-linux"), "--reuid", "postgres", "--regid", "postgres")
    user += ("--clear-groups", "env", f"HOME={folder}")
    initdb = versions[-1].with_name("initdb")
    options = ("-D", folder / "data", "-A", "trust", "-U", "postgres", "--no-sync", "--no-instructions")
    made_it = subprocess.run([*user, initdb, *options], cwd="/", capture_output=True, text=True)
    if made_it.returncode:
        raise peers.DidNotStart(made_it.stderr)
    with (folder / "data" / "pg_hba.conf").open("a") as access:
        access.write("host all all 0.0.0.0/0 trust\n")
    settings = (f"listen_addresses={HOST}", f"port={POSTGRES}", f"unix_socket_directories={folder}")
    words = [word for each in (*settings, "fsync=off") for word in ("-c", each)]
    command = (*user, str(versions[-1]), "-D", str(folder / "data"), *words)
    with namespaces.running(made, "server", *command, ready=(HOST, POSTGRES)):
        yield


@contextlib.contextmanager
def redis(made: namespaces.Networks, folder: Path) -> Iterator[None]:
    """Redis, without a password."""
    binary = peers.find("redis-server", package="redis-server")
    options = (
        "--bind",
        HOST,
        "--port",
        str(REDIS),
        "--protected-mode",
        "no",
        "--save",
        "",
        "--dir",
        str(folder),
    )
    with namespaces.running(made, "server", binary, *options, ready=(HOST, REDIS)):
        yield


@contextlib.contextmanager
def ntp(made: namespaces.Networks, folder: Path) -> Iterator[None]:
    """chrony, which serves the time of this machine and sets nothing."""
    binary = peers.find("chronyd", package="chrony")
    settings = ("local stratum 1", "allow", f"bindaddress {HOST}", "cmdport 0", f"pidfile {folder}/pid")
    command = (binary, "-d", "-x", "-U", "-u", "root", *settings)
    # It has no TCP to wait for: clients ask several times.
    with namespaces.running(made, "server", *command, ready=(HOST, 80)):
        yield


def grpc_server():
    import sys
    import threading
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    server = grpc.server(ThreadPoolExecutor(4))
    echo = grpc.unary_unary_rpc_method_handler(lambda request, context: request)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Echo", {"Say": echo})])
    server.add_insecure_port(sys.argv[1])
    server.start()
    threading.Event().wait()


@contextlib.contextmanager
def grpc(made: namespaces.Networks, python: str) -> Iterator[None]:
    """A service that echoes; ``python`` has grpc."""
    command = (python, "-c", source_of(grpc_server), f"{HOST}:{GRPC}")
    with namespaces.running(made, "server", *command, ready=(HOST, GRPC)):
        yield


# ---------------------------------------------------------------- package indexes, each with one package


def _apt_index(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "Packages").write_text(
        "Package: greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: a <a@b.test>\n"
        "Filename: ./greeting.deb\nSize: 1\nSHA256: " + "0" * 64 + "\nDescription: says hello\n"
    )


def _pip_index(folder: Path) -> None:
    folder.mkdir(parents=True)
    info = "greeting-1.0.dist-info"
    contents = {
        "greeting.py": "HELLO = 'hello'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{name},," for name in (*contents, f"{info}/RECORD")]
    wheel = "greeting-1.0-py3-none-any.whl"
    with zipfile.ZipFile(folder / wheel, "w") as archive:
        for name, text in {**contents, f"{info}/RECORD": "\n".join(lines) + "\n"}.items():
            archive.writestr(name, text)
    (folder / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>\n')


def _npm_index(folder: Path) -> None:
    package = json.dumps({"name": "greeting", "version": "1.0.0"}).encode()
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        member = tarfile.TarInfo("package/package.json")
        member.size = len(package)
        archive.addfile(member, io.BytesIO(package))
    (folder / "greeting.tgz").write_bytes(data.getvalue())
    digest = base64.b64encode(hashlib.sha512(data.getvalue()).digest()).decode()
    distribution = {"tarball": f"http://four.test:{FILES}/greeting.tgz", "integrity": f"sha512-{digest}"}
    version = {"name": "greeting", "version": "1.0.0", "dist": distribution}
    about = {"name": "greeting", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
    (folder / "greeting").write_text(json.dumps(about))
