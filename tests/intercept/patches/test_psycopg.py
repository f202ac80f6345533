"""psycopg and psycopg2 of the newest releases against PostgreSQL: libpq connects to nothing but our ports."""

from __future__ import annotations

import ipaddress
import sys

import pytest

from tests.support.child import source_of
from tests.support.installed import installed
from tests.support.naming_proxy import naming_proxy
from tests.support.postgres import PASSWORD, USER, postgres
from tests.support.put_back import check_put_back
from tests.support.run import program, pysocksify, run

NAME = "db.example"
ALL = pytest.mark.parametrize("how", ["psycopg", "psycopg:async", "psycopg2", "psycopg2:async"])
BLOCKING = pytest.mark.parametrize("how", ["psycopg", "psycopg2"])


@pytest.fixture(scope="session")
def database():
    with installed(), postgres(NAME) as server:
        yield server


@pytest.fixture
def proxy():
    with naming_proxy({NAME: "127.0.0.1"}) as proxy:
        yield proxy


def through(proxy, *options):
    return pysocksify("-x", proxy.url(), "--loopback", "proxy", *options)


def conninfo(host, port, **more):
    parameters = {
        "host": host,
        "port": port,
        "user": USER,
        "password": PASSWORD,
        "dbname": "postgres",
        **more,
    }
    return " ".join(f"{key}={value}" for key, value in parameters.items())


def check_clean(seen, proxy):
    """Nothing but ``proxy`` was reached for, and our own ports."""
    others = {host for host, port in seen.destinations if (host, port) != (proxy.host, proxy.port)}
    assert (proxy.host, proxy.port) in seen.destinations
    assert all(ipaddress.ip_address(host) in ipaddress.ip_network("127.0.0.0/8") for host in others)
    assert "127.0.0.1" not in others, str(seen)


@ALL
@pytest.mark.parametrize("sslmode", ["disable", "prefer", "verify-full"])
def test_a_database_behind_the_proxy(how, sslmode, trace, proxy, database):
    text = conninfo(NAME, database.port, sslmode=sslmode, sslrootcert=database.ca_pem)
    ran, seen = trace(*through(proxy), *program("query_postgres.py"), how, text, 5)
    said = ran.json
    assert said.get("bytes") == 5_000_000, str(ran)
    assert (said["user"], said["tls"]) == (USER, sslmode != "disable")
    if ":" not in how:
        # As if there were no port of ours: for .pgpass, and for what programs print.
        assert (said["host"], said["port"]) == (NAME, database.port)
        assert said["cancelled"] in ("QueryCanceled", "QueryCanceledError")
    assert {*proxy.asked} == {("CONNECT", NAME, database.port)}
    check_clean(seen, proxy)


@ALL
def test_what_is_not_there_is_refused_by_the_proxy(how, proxy, refusing_port):
    ran = run(*through(proxy), *program("query_postgres.py"), how, conninfo("127.0.0.1", refusing_port))
    assert ran.json["error"] == "OperationalError", str(ran)
    assert f'connection to server at "127.0.0.1", port {refusing_port} failed: ' in ran.json["text"]
    assert "onnection refused" in ran.json["text"]
    assert proxy.asked == [("CONNECT", "127.0.0.1", refusing_port)]


@BLOCKING
def test_of_several_hosts_the_first_that_is_there(how, proxy, database, refusing_port):
    text = conninfo(f"127.0.0.1,{NAME}", f"{refusing_port},{database.port}")
    ran = run(*through(proxy), *program("query_postgres.py"), how, text)
    assert ran.json.get("bytes") == 1000, str(ran)
    asked = [("CONNECT", "127.0.0.1", refusing_port), ("CONNECT", NAME, database.port)]
    assert [*dict.fromkeys(proxy.asked)] == asked


@BLOCKING
def test_a_timeout_is_the_programs(how, blackhole_proxy):
    command = pysocksify("-x", f"socks5h://{blackhole_proxy.host}:{blackhole_proxy.port}")
    text = conninfo("elsewhere.test", 5432, connect_timeout=2)
    ran = run(*command, *program("query_postgres.py"), how, text)
    assert ran.json["error"] in ("OperationalError", "ConnectionTimeout"), str(ran)
    assert 1 < ran.json["took"] < 20


@BLOCKING
def test_what_is_direct_is_libpqs_own(how, trace, proxy, database):
    text = conninfo(database.host, database.port)
    ran, seen = trace(*pysocksify("-x", proxy.url()), *program("query_postgres.py"), how, text)
    assert ran.json.get("bytes") == 1000 and ran.json["threads"] == 1, str(ran)
    assert seen.destinations == {(database.host, database.port)}
    assert proxy.asked == []


@BLOCKING
def test_a_password_is_found_by_the_name_and_the_port(how, tmp_path, proxy, database):
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"{NAME}:{database.port}:*:{USER}:{PASSWORD}\n")
    passwords.chmod(0o600)
    text = f"host={NAME} port={database.port} user={USER} dbname=postgres"
    ran = run(*through(proxy), *program("query_postgres.py"), how, text, env={"PGPASSFILE": str(passwords)})
    assert ran.json.get("bytes") == 1000, str(ran)


@BLOCKING
def test_a_host_of_the_environment_is_one_too(how, trace, proxy, database):
    env = {"PGHOST": NAME, "PGPORT": str(database.port), "PGUSER": USER, "PGPASSWORD": PASSWORD}
    ran, seen = trace(*through(proxy), *program("query_postgres.py"), how, "dbname=postgres", env=env)
    assert ran.json.get("bytes") == 1000, str(ran)
    check_clean(seen, proxy)


@BLOCKING
def test_a_service_is_refused(how, proxy):
    ran = run(*through(proxy), *program("query_postgres.py"), how, "service=somewhere")
    assert ran.json["error"] == "OperationalError"
    assert "where a service is cannot be told; name the host instead" in ran.json["text"]


def be_connected_to_by_another():
    import socket
    import subprocess
    import sys

    from pywrap import intercept
    from pywrap.intercept.forward.forwarder import Forward, connected

    runtime = intercept.current()
    forward = Forward(lambda _: connected(runtime, "127.0.0.1", int(sys.argv[1])))
    read = f"import socket; print(socket.create_connection({forward.address!r}).recv(9))"
    command = [sys.executable, "-c", read]
    other = subprocess.run(command, capture_output=True, text=True)
    print(other.stdout.strip(), other.stderr.strip().splitlines()[-1:])
    sock = socket.socket()
    sock.connect(forward.address)
    sock.sendall(b"hello\n")
    print(sock.recv(9))
    forward.settle()


def test_another_process_is_not_served(proxy, echo_server):
    code = source_of(be_connected_to_by_another)
    ran = run(*pysocksify("-x", proxy.url()), sys.executable, "-c", code, echo_server.port)
    stranger, own = ran.out.splitlines()
    assert "ConnectionResetError" in stranger, str(ran)
    assert own == "b'hello\\n'"


def test_uninstall_leaves_no_trace():
    check_put_back("psycopg.generators:connect", "psycopg2:_connect")
