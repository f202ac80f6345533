"""Event loops in C and Rust, with the newest releases of uvloop and rloop: as tunnelled as asyncio's own.

strace sees what their own code reaches for.
"""

from __future__ import annotations

import errno
import json
import sys

import pytest

from tests.support.datagrams import udp_echo
from tests.support.destinations import HELLO, ONLY_THE_PROXY_KNOWS
from tests.support.naming_proxy import naming_proxy
from tests.support.run import program, pysocksify, run
from tests.support.servers import reference_server

BODY = HELLO.decode()
UVLOOP = [f"uvloop:{how}" for how in ("run", "factory", "policy", "install")]


@pytest.fixture
def proxy():
    with naming_proxy({ONLY_THE_PROXY_KNOWS: "127.0.0.1"}) as proxy:
        yield proxy


@pytest.fixture(params=["uvloop", "rloop"])
def loop(request):
    """Each loop in turn that is installed; rloop has no wheel for every interpreter."""
    if request.param == "rloop":
        pytest.importorskip("rloop")
    return request.param


def through(proxy, *options):
    return pysocksify("-x", proxy.url(), "--loopback", "proxy", *options)


def on(loop, name, *args):
    return *program("on_loop.py"), loop, name, *args


def check_clean(seen, proxy):
    """Nothing but ``proxy`` was reached for, and nothing was asked for a name."""
    assert seen.destinations == {(proxy.host, proxy.port)}, str(seen)
    assert seen.families <= {"AF_INET", "AF_INET6"}, str(seen)


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize("how", UVLOOP)
def test_every_way_to_choose_uvloop_goes_through_the_proxy(how, trace, proxy, https_server):
    words = ONLY_THE_PROXY_KNOWS, https_server.port, https_server.ca_pem
    ran, seen = trace(*through(proxy), *on(how, "asyncio_streams.py", *words))
    assert ran.json["right"] and ran.json["tls"], str(ran)
    assert proxy.asked == [("CONNECT", ONLY_THE_PROXY_KNOWS, https_server.port)]
    check_clean(seen, proxy)


def test_a_stream_goes_through_the_proxy(loop, trace, proxy, http_server):
    ran, seen = trace(
        *through(proxy), *on(loop, "asyncio_streams.py", ONLY_THE_PROXY_KNOWS, http_server.port)
    )
    assert ran.json["right"], str(ran)
    assert proxy.asked == [("CONNECT", ONLY_THE_PROXY_KNOWS, http_server.port)]
    check_clean(seen, proxy)


def test_aiohttp_on_uvloop(trace, proxy, https_server):
    url = https_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran, seen = trace(*through(proxy), *on("uvloop", "fetch_aiohttp.py", url, https_server.ca_pem))
    assert ran.json == {"status": 200, "body": BODY}
    assert {*proxy.asked} == {("CONNECT", ONLY_THE_PROXY_KNOWS, https_server.port)}
    check_clean(seen, proxy)


def test_sockets_of_the_program_a_hundred_at_once(loop, proxy, echo_server):
    ran = run(*through(proxy), *on(loop, "asyncio_sock_connect.py", echo_server.host, echo_server.port))
    assert ran.json == {"connections": 100, "right": True}
    assert proxy.asked == [("CONNECT", echo_server.host, echo_server.port)] * 100


def test_a_refusal_is_the_one_of_asyncio(loop, proxy, refusing_port):
    words = "127.0.0.1", refusing_port, "asyncio"
    bare = run(*program("fail.py"), *words).json
    ran = run(*through(proxy), *on(loop, "fail.py", *words))
    assert (ran.json["error"], ran.json["errno"]) == (bare["error"], bare["errno"]), str(ran)
    assert proxy.asked == [("CONNECT", "127.0.0.1", refusing_port)]


def test_a_proxy_that_is_silent_holds_up_one_connection_alone(loop, blackhole_proxy):
    words = "elsewhere.test", 80, 2
    ran = run(
        *pysocksify("-x", f"socks5h://{blackhole_proxy.host}:{blackhole_proxy.port}"),
        *on(loop, "tick_asyncio.py", *words),
    )
    assert ran.json["outcome"] == "TimeoutError" and ran.json["ticks"] > 50, str(ran)


def test_a_timeout_of_ours_is_the_programs(loop, blackhole_proxy):
    command = pysocksify("-x", f"socks5h://{blackhole_proxy.host}:{blackhole_proxy.port}", "--timeout", "1")
    ran = run(*command, *on(loop, "fail.py", "elsewhere.test", 80, "asyncio"))
    assert ran.json["errno"] == "ETIMEDOUT", str(ran)


# ---------------------------------------------------------------- datagrams


@pytest.mark.parametrize("connected", [[], ["connected"]], ids=["with addresses", "connected"])
def test_datagrams_go_through_the_proxy(loop, connected, trace):
    with reference_server() as proxy, udp_echo() as echo:
        ran, seen = trace(*through(proxy), *on(loop, "udp_asyncio.py", echo.host, echo.port, 500, *connected))
        assert ran.json["received"] == 500, str(ran)
        assert ran.json["sources"] == [[echo.host, echo.port]]
        assert ran.json["peer"] == ([echo.host, echo.port] if connected else None)
        assert {command for command, _, _ in proxy.asked} == {"UDP ASSOCIATE"}
    # And to the relay, which is at another port of the proxy.
    assert {host for host, _ in seen.destinations} == {proxy.host}
    assert (echo.host, echo.port) not in seen.destinations


# ---------------------------------------------------------------- names


def test_names_are_left_to_the_proxy(loop, trace, proxy):
    ran, seen = trace(*through(proxy), *on(loop, "names_asyncio.py", "elsewhere.test"))
    bare = run(*program("on_loop.py"), loop, "names_asyncio.py", "localhost").json
    said = ran.json
    assert said["rows"] == [[2, 1, ["198.18.0.1", 80]]]
    assert said["name"] == ["elsewhere.test", "http"]
    assert {key: said[key] for key in ("literal", "loopback", "own")} == {
        key: bare[key] for key in ("literal", "loopback", "own")
    }
    assert said["bad"][0] == "gaierror"
    assert seen.destinations == set(), str(seen)


# ---------------------------------------------------------------- servers


def test_servers_are_local(loop, proxy):
    ran = run(*pysocksify("-x", proxy.url()), *on(loop, "serve_asyncio.py", "localhost", 0))
    assert ran.json == {"own": "HELLO\n", "given": "HELLO\n"}
    assert proxy.asked == []


def test_servers_obey_listen_block():
    command = pysocksify("-x", "socks5h://192.0.2.99:1080", "--listen", "block")
    assert run(*command, *on("uvloop", "serve_asyncio.py", "127.0.0.1", 0)).json["own"] == "HELLO\n"
    ran = run(*command, *on("uvloop", "serve_asyncio.py", "0.0.0.0", 0))
    assert ran.json == {"own": ["PermissionError", errno.EPERM], "given": "HELLO\n"}


def test_servers_do_not_listen_at_a_proxy():
    command = pysocksify("-x", "socks5h://192.0.2.99:1080", "--listen", "bind")
    ran = run(*command, *on("uvloop", "serve_asyncio.py", "0.0.0.0", 0))
    assert ran.json == {"own": ["OSError", errno.EOPNOTSUPP], "given": "HELLO\n"}
    assert "a server of this event loop cannot listen at a proxy" in ran.err


# ---------------------------------------------------------------- children


def test_children_are_covered_and_the_same(loop, proxy, http_server):
    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran = run(*through(proxy), *on(loop, "children_asyncio.py", url))
    assert ran.json == {
        **dict.fromkeys(("usual", "empty", "isolated"), [0, ["200"]]),
        "cat": [0, ["said to it"]],
        "shell": ["/bin/sh\n", 3],
        "signal": -15,
        "missing": "FileNotFoundError",
    }, str(ran)
    assert proxy.asked == [("CONNECT", ONLY_THE_PROXY_KNOWS, http_server.port)] * 3


# ---------------------------------------------------------------- the way back

UNDONE = """
import json, sys, pywrap
import {loop}
cls = {loop}.Loop if "{loop}" == "uvloop" else {loop}.loop.RLoop
before = dict(vars(cls))
pywrap.install("socks5h://192.0.2.99:1080")
changed = [name for name in vars(cls) if vars(cls)[name] is not before.get(name)]
pywrap.uninstall()
print(json.dumps([len(changed) > 3, dict(vars(cls)) == before]))
"""


def test_uninstall_leaves_no_trace(loop):
    ran = run(sys.executable, "-c", UNDONE.format(loop=loop))
    assert json.loads(ran.out) == [True, True]
