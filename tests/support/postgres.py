"""A PostgreSQL server of our own, with TLS and a password, on a free port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import trustme

from tests.support import peers

HOST = "127.0.0.1"
USER, PASSWORD = "alice", "secret"


class Postgres(NamedTuple):
    """``ca_pem``: of a certificate for ``NAMES``."""

    host: str
    port: int
    ca_pem: str


def _programs() -> Path:
    """Debian's are on no path."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True):
        if (folder / "initdb").exists():
            return folder
    if found := shutil.which("initdb"):
        return Path(found).parent
    raise peers.Missing("postgres is not installed (Debian: apt-get install postgresql)")


@contextlib.contextmanager
def postgres(*names: str) -> Iterator[Postgres]:
    """The server, certified for ``names``."""
    programs = _programs()
    with tempfile.TemporaryDirectory(prefix="pysocksify-postgres-", dir="/tmp") as name:
        folder = Path(name)
        data = folder / "data"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.pem")
        certificate = authority.issue_cert(*names)
        (folder / "server.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        (folder / "key.pem").write_bytes(certificate.private_key_pem.bytes())
        (folder / "key.pem").chmod(0o600)
        (folder / "password").write_text(PASSWORD)
        # It refuses to run as root.
        user = "nobody" if os.geteuid() == 0 else None
        if user is not None:
            number = pwd.getpwnam(user).pw_uid
            for path in (folder, *folder.iterdir()):
                os.chown(path, number, -1)

        def run(program: str, *words: str) -> None:
            command = [str(programs / program), *words]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, user=user)

        login = (f"--username={USER}", f"--pwfile={folder}/password", "--auth=scram-sha-256")
        run("initdb", f"--pgdata={data}", "--no-sync", *login)
        with socket.create_server((HOST, 0)) as free:
            port = free.getsockname()[1]
        settings = {
            **{"listen_addresses": HOST, "port": port, "unix_socket_directories": folder, "fsync": "off"},
            **{"ssl": "on", "ssl_cert_file": folder / "server.pem", "ssl_key_file": folder / "key.pem"},
        }
        with (data / "postgresql.conf").open("a") as file:
            file.writelines(f"{key} = '{value}'\n" for key, value in settings.items())
        try:
            run("pg_ctl", "start", "-w", "-s", f"--pgdata={data}", f"--log={folder}/log")
            yield Postgres(HOST, port, f"{folder}/ca.pem")
        finally:
            run("pg_ctl", "stop", "-s", "-m", "immediate", f"--pgdata={data}")
