"""A Kerberos realm of its own: MIT's KDC on a port of loopback, a user, and a service with its key."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.peers import SEARCH, DidNotStart, Missing
from tests.support.servers import PATIENCE

REALM = "PYSOCKSIFY.TEST"
USER = f"alice@{REALM}"
SECONDS_TO_START = 20

KRB5_CONF = """
[libdefaults]
    default_realm = {realm}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    qualify_shortname = ""
[realms]
    {realm} = {{
        kdc = 127.0.0.1:{port}
    }}
[domain_realm]
    localhost = {realm}
    127.0.0.1 = {realm}
"""

KDC_CONF = """
[kdcdefaults]
    kdc_listen = 127.0.0.1:{port}
    kdc_tcp_listen = 127.0.0.1:{port}
[realms]
    {realm} = {{
        database_name = {folder}/principal
        key_stash_file = {folder}/stash
        acl_file = {folder}/acl
    }}
[logging]
    kdc = FILE:{folder}/kdc.log
"""


class Realm(NamedTuple):
    """``environ`` is for a program of the user, who has a ticket, and of the service, which has its key."""

    environ: dict[str, str]
    service: str


@contextlib.contextmanager
def realm(folder: Path, host: str = "localhost", service: str = "socks") -> Iterator[Realm]:
    """A realm with ``alice``, who is logged in, and ``service`` at ``host``.

    Raises:
        Missing, DidNotStart: as in ``tests.support.peers``.
    """
    programs = {
        name: shutil.which(name, path=SEARCH) for name in ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")
    }
    missing = [name for name, path in programs.items() if path is None]
    if missing:
        raise Missing(f"{', '.join(missing)}: krb5-kdc, krb5-admin-server, krb5-user")
    port = _free_port()
    values = {"realm": REALM, "port": port, "folder": folder}
    (folder / "krb5.conf").write_text(KRB5_CONF.format(**values))
    (folder / "kdc.conf").write_text(KDC_CONF.format(**values))
    environ = {
        **os.environ,
        "KRB5_CONFIG": str(folder / "krb5.conf"),
        "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
        "KRB5_KTNAME": f"FILE:{folder}/keytab",
        "KRB5CCNAME": f"FILE:{folder}/tickets",
        "KRB5RCACHENAME": f"dfl:{folder}/replay",
    }

    def run(*command: str, text: str = "") -> None:
        program = programs[command[0]]
        assert program is not None
        done = subprocess.run(
            [program, *command[1:]], env=environ, input=text, capture_output=True, text=True
        )
        if done.returncode:
            raise DidNotStart(f"{command[0]}: {done.stderr}")

    principal = f"{service}/{host}"
    run("kdb5_util", "create", "-s", "-r", REALM, "-P", "master")
    for query in ("addprinc -pw secret alice", f"addprinc -randkey {principal}", f"ktadd {principal}"):
        run("kadmin.local", "-r", REALM, "-q", query)
    kdc = programs["krb5kdc"]
    assert kdc is not None
    with subprocess.Popen([kdc, "-n"], env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + SECONDS_TO_START
            while True:
                with contextlib.suppress(DidNotStart):
                    run("kinit", USER, text="secret\n")
                    break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise DidNotStart(f"krb5kdc: {process.stderr and process.stderr.read()}")
            yield Realm(environ, f"{service}@{host}")
        finally:
            process.terminate()


def _free_port() -> int:
    """One that is free for TCP and UDP."""
    while True:
        with socket.socket() as reserved, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            reserved.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                datagrams.bind(reserved.getsockname())
                port: int = reserved.getsockname()[1]
                return port


@contextlib.contextmanager
def silent_kdc(running: Realm, folder: Path) -> Iterator[tuple[dict[str, str], socket.socket]]:
    """Variables with which the KDC of ``running`` is one that never answers, and its UDP socket.

    The user has a ticket all the same.
    """
    with socket.socket(type=socket.SOCK_DGRAM) as kdc:
        kdc.settimeout(PATIENCE)
        kdc.bind(("127.0.0.1", 0))
        values = {"realm": REALM, "port": kdc.getsockname()[1]}
        (folder / "silent.conf").write_text(KRB5_CONF.format(**values))
        yield {**running.environ, "KRB5_CONFIG": str(folder / "silent.conf")}, kdc
