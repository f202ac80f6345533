"""What real runs write: every line is valid, and the lines say what happened."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support.child import source_of
from tests.support.log import of, read
from tests.support.logged import logged
from tests.support.run import program, pysocksify, run
from tests.support.servers import reference_server


def test_a_run_has_a_line_for_everything_and_no_password(file, proxy, echo_server, refusing_port):
    url = proxy.url("alice", "s3cret")
    rules = "--direct", "127.0.0.2", "--route", "192.0.2.99 block"
    run(
        *logged(file, url, *rules),
        *program("log_kinds.py"),
        echo_server.host,
        echo_server.port,
        refusing_port,
    )
    lines = read(file)
    assert "s3cret" not in file.read_text() and "alice" not in file.read_text()
    assert len({line["run"] for line in lines}) == 1
    assert file.stat().st_mode & 0o777 == 0o600

    (start,) = of("run", lines)
    assert start["chains"][0]["proxies"] == [f"socks5h://127.0.0.1:{proxy.port}"]

    tunnels = [line for line in of("connection", lines) if line["route"] == "tunnel"]
    opened = [line for line in tunnels if line["result"] == "ok"]
    # The first, asyncio's, the child's and the forked one's.
    assert len(opened) == 4 and len({line["pid"] for line in opened}) == 3
    for line in opened:
        (hop,) = line["hops"]
        assert all(hop[phase] > 0 for phase in ("dial", "greeting", "login", "reply"))
        assert sum(hop[phase] for phase in ("dial", "greeting", "login", "reply")) <= line["seconds"] + 1e-5
        assert line["remote"] == f"127.0.0.1:{proxy.port}" and line["local"].startswith("127.0.0.1:")
        assert (line["sent"], line["received"], line["end"]) == (None, None, None)
        assert line["library"] == "__main__"
    assert {line["program"] for line in opened} == {"log_kinds.py", os.path.basename(sys.executable)}
    assert len({line["id"] for line in tunnels}) == len(tunnels)

    refused, unknown = (line for line in tunnels if line["result"] == "failed")
    assert (refused["errno"], refused["port"]) == ("ECONNREFUSED", refusing_port)
    assert unknown["name"] == "nowhere.invalid" and "host unreachable" in unknown["error"]

    direct = [line for line in of("connection", lines) if line["route"] == "direct"]
    assert [(line["host"], line["reason"]) for line in direct] == [("127.0.0.2", "route 127.0.0.2/32 direct")]
    blocked, bypass = of("refusal", lines)
    assert (blocked["host"], blocked["errno"], blocked["protocol"]) == ("192.0.2.99", "EPERM", "tcp")
    assert "past the proxy" in bypass["error"]

    (name,) = of("name", lines)
    assert (name["name"], name["how"], name["result"]) == ("nowhere.invalid", "placeholder", "ok")
    (datagrams,) = of("datagrams", lines)
    assert (datagrams["route"], datagrams["port"]) == ("tunnel", echo_server.port)
    (association,) = of("association", lines)
    assert association["relay"].startswith("127.0.0.1:") and association["hops"][0]["login"] > 0
    (listener,) = of("listener", lines)
    assert listener["route"] == "direct" and listener["place"].startswith("127.0.0.1:")


def test_the_same_in_a_confinement_where_the_broker_counts_the_bytes(file, proxy, echo_server, refusing_port):
    options = "--confine", "on"
    words = *program("log_kinds.py"), echo_server.host, echo_server.port, refusing_port
    run(*logged(file, proxy.url("alice", "s3cret"), *options), *words)
    lines = read(file)
    assert "s3cret" not in file.read_text()
    assert {line["by"] for line in lines} == {"patch", "broker", "launcher"}
    by_broker = {line["id"]: line for line in of("connection", lines) if line["by"] == "broker"}
    ends = of("end", lines)
    assert ends and {line["id"] for line in ends} <= set(by_broker)
    # A patched program's connection to the proxy, which has its bytes here.
    ours = [line["local"] for line in of("connection", lines) if line["by"] == "patch" and line["local"]]
    counted = {by_broker[end["id"]]["client"]: end for end in ends}
    assert ours and all(counted[local]["sent"] > 0 for local in ours if local in counted)
    assert set(ours) & set(counted)


def test_a_program_that_is_not_python_is_in_the_log(file, proxy, http_server):
    url = f"http://{http_server.host}:{http_server.port}/"
    run(*logged(file, proxy.url("alice", "s3cret")), "curl", "-sS", "-o", os.devnull, url)
    run(*logged(file, proxy.url("alice", "s3cret")), "curl", "-s", "http://nowhere.invalid/", status=None)
    lines = read(file)
    assert {line["program"] for line in lines} == {"curl"}
    assert len({line["run"] for line in lines}) == 2
    connected, failed = of("connection", lines)
    (end,) = of("end", lines)
    assert connected["id"] == end["id"] and end["received"] > 0
    assert failed["errno"] == "EHOSTUNREACH" and failed["name"] == "nowhere.invalid"
    assert {line["name"] for line in of("name", lines)} == {"nowhere.invalid"}


def test_the_broker_finds_out_which_process_has_asked(file, proxy, http_server):
    url = f"http://{http_server.host}:{http_server.port}/"
    script = (
        f"curl -sS -o {os.devnull} {url}; wget -q -O {os.devnull} {url}; exec curl -sS -o {os.devnull} {url}"
    )
    run(*logged(file, proxy.url("alice", "s3cret")), "sh", "-c", script)
    connections = of("connection", read(file))
    assert [line["program"] for line in connections] == ["curl", "wget", "curl"]
    assert len({line["pid"] for line in connections}) == 3
    assert {line["program"] for line in of("run", read(file))} == {"sh"}


@pytest.mark.parametrize("dns", ["local", "tor"])
def test_names_say_what_answered(dns, file, proxy):
    def program():
        import socket

        for name in ("localhost", "nowhere.invalid"):
            try:
                socket.getaddrinfo(name, 80)
            except OSError:
                pass

    run(*logged(file, proxy.url("alice", "s3cret"), "--dns", dns), sys.executable, "-c", source_of(program))
    names = {line["name"]: line for line in of("name", read(file))}
    assert names["nowhere.invalid"]["how"] == dns and names["nowhere.invalid"]["result"] == "failed"
    assert names["nowhere.invalid"]["errno"].startswith("EAI_")
    assert names["localhost"]["result"] == "ok" and "127.0.0.1" in names["localhost"]["answers"]


def test_a_listener_at_the_proxy_and_its_peer_have_lines(file):
    def program():
        import socket

        listener = socket.socket()
        listener.bind(("0.0.0.0", 0))
        listener.listen()
        peer = socket.socket()
        peer.connect(listener.getsockname())
        listener.accept()

    with reference_server() as proxy:
        run(
            *logged(file, proxy.url(), "--listen", "bind", "--bind-peer", "any"),
            sys.executable,
            "-c",
            source_of(program),
        )
    lines = read(file)
    (listener,) = of("listener", lines)
    assert (listener["route"], listener["result"]) == ("tunnel", "ok")
    assert of("accepted", lines)[0]["hops"][0]["proxy"].endswith(str(proxy.port))


def test_a_direct_connection_is_one_line_however_often_a_loop_asks_for_its_state(file, echo_server):
    def program(host, port):
        import select
        import socket

        sock = socket.socket()
        sock.setblocking(False)
        sock.connect_ex((host, port))
        select.select([], [sock], [], 20)
        print([sock.connect_ex((host, port)) for _ in range(3)])

    command = *pysocksify("-x", "socks5h://127.0.0.1:1", "--log", file), sys.executable
    run(*command, "-c", source_of(program, echo_server.host, echo_server.port))
    (line,) = of("connection", read(file))
    assert (line["route"], line["reason"]) == ("direct", "this machine")
    assert line["result"] in ("ok", "unknown")


def test_a_chain_with_a_dead_hop_says_how_many_ways_were_tried(file, refusing_port, echo_server):
    with reference_server() as proxy:
        options = "--chain-type", "dynamic", "--loopback", "proxy", "--log", file
        chain = "-x", f"socks5h://127.0.0.1:{refusing_port}", "-x", proxy.url()
        code = f"import socket; socket.create_connection(({echo_server.host!r}, {echo_server.port}))"
        run(*pysocksify(*chain, *options), sys.executable, "-c", code)
    (line,) = of("connection", read(file))
    assert line["ways"] == 2 and line["waited"] > 0
    assert [hop["proxy"] for hop in line["hops"]] == [f"socks5h://127.0.0.1:{proxy.port}"]


def test_twenty_processes_write_one_log_and_no_line_is_lost(file, echo_server):
    with reference_server() as proxy:
        words = *program("log_many.py"), echo_server.host, echo_server.port, 20, 10
        run(*logged(file, proxy.url()), *words, timeout=120)
    connections = of("connection", read(file))
    assert len(connections) == 20 * 10
    assert len({line["id"] for line in connections}) == len(connections)
    assert len({line["pid"] for line in connections}) == 20


# ---------------------------------------------------------------- where it is written


def test_install_takes_a_log_too(file, echo_server):
    with reference_server() as proxy:
        code = (
            "import pywrap, socket\n"
            f"pywrap.install({proxy.url()!r}, loopback='proxy', log={str(file)!r})\n"
            f"socket.create_connection(({echo_server.host!r}, {echo_server.port}))"
        )
        run(sys.executable, "-c", code)
    assert [line["event"] for line in read(file)] == ["run", "connection"]


def test_uninstall_gives_the_descriptor_back(file, echo_server):
    def program(url, file, host, port):
        import os
        import socket

        import pywrap

        def descriptors_of_it():
            links = map("/proc/self/fd/".__add__, os.listdir("/proc/self/fd"))
            return sum(os.path.realpath(link) == file for link in links)

        pywrap.install(url, loopback="proxy", log=file)
        socket.create_connection((host, port))
        print(descriptors_of_it(), pywrap.uninstall(), descriptors_of_it())

    with reference_server() as proxy:
        words = proxy.url(), str(file), echo_server.host, echo_server.port
        assert run(sys.executable, "-c", source_of(program, *words)).out == "1 None 0\n"


@pytest.mark.parametrize(
    ("name", "library"),
    [
        *(
            ("fetch_gevent.py", "__main__"),
            ("fetch_eventlet.py", "__main__"),
            ("fetch_twisted.py", "twisted"),
        ),
        *(("fetch_tornado.py", "tornado"), ("fetch_aiohttp.py", "aiohttp"), ("fetch_httpx.py", "httpcore")),
        ("fetch_requests.py", "urllib3"),
    ],
)
def test_each_library_is_named_and_does_not_notice(name, library, file, http_server):
    with reference_server() as proxy:
        run(*logged(file, proxy.url()), *program(name), http_server.url())
    connections = of("connection", read(file))
    assert connections and {line["result"] for line in connections} == {"ok"}
    assert {line["library"] for line in connections} == {library}


def test_every_interpreter_writes_the_same_lines(interpreter, file, echo_server):
    def program(host, port):
        import asyncio
        import socket

        async def main():
            _, writer = await asyncio.open_connection(host, port)
            writer.close()

        socket.create_connection((host, port)).close()
        asyncio.run(main())

    with reference_server() as proxy:
        code = source_of(program, echo_server.host, echo_server.port)
        run(*logged(file, proxy.url()), interpreter, "-c", code)
    connections = of("connection", read(file))
    assert [(line["library"], line["thread"], line["result"]) for line in connections] == [
        ("__main__", "MainThread", "ok")
    ] * 2
