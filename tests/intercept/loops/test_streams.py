"""Streams and sockets of asyncio programs on uvloop and rloop."""

from __future__ import annotations

from tests.support.destinations import HELLO, ONLY_THE_PROXY_KNOWS
from tests.support.loops import check_clean, on, through
from tests.support.run import program, pysocksify, run

BODY = HELLO.decode()


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
