"""Programs that have a SOCKS proxy of their own: reached through ours, it hears names and no placeholders."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.support import destinations
from tests.support.child import source_of
from tests.support.naming_proxy import naming_proxy
from tests.support.run import program, pysocksify, run
from tests.support.servers import reference_server

HERE = "127.0.0.1"

WAYS = [
    *("requests socks5", "requests socks5h", "requests socks4"),
    *("socket.socket", "PySocks SOCKS5", "PySocks SOCKS4"),
    *("python-socks SOCKS5", "python-socks SOCKS4", "python-socks asyncio"),
    *("aiohttp-socks", "httpx"),
]


@pytest.mark.parametrize("how", WAYS)
def test_the_programs_proxy_is_asked_for_the_name_through_ours(how: str, http_server: Any) -> None:
    with reference_server() as ours, naming_proxy({"web.example": HERE}) as own:
        ran = run(
            *pysocksify("-x", ours.url(), "--loopback", "proxy"),
            *program("fetch_own_proxy.py"),
            *(how, own.host, own.port, f"http://web.example:{http_server.port}/"),
        )
        assert destinations.HELLO.decode() in ran.out
        assert ours.asked == [("CONNECT", own.host, own.port)]
        assert own.asked == [("CONNECT", "web.example", http_server.port)]


def test_what_has_an_address_here_is_asked_for_by_that(http_server: Any) -> None:
    # `socks5` is local resolution, and this name is one of this machine's.
    with reference_server() as ours, naming_proxy() as own:
        run(
            *pysocksify("-x", ours.url(), "--loopback", "proxy"),
            *program("fetch_own_proxy.py"),
            *("PySocks SOCKS5", own.host, own.port, f"http://localhost:{http_server.port}/"),
        )
        assert own.asked == [("CONNECT", HERE, http_server.port)]


def test_a_module_of_that_name_may_be_the_programs_own(tmp_path: Any) -> None:
    (tmp_path / "socks.py").write_text("colour = 'red'\n")
    ran = run(
        *pysocksify("-x", "socks5h://192.0.2.99"),
        sys.executable,
        "-c",
        "import socks; print(socks.colour)",
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert ran.out == "red\n"


def test_they_are_as_they_were_after_uninstall() -> None:
    def program():
        import socks
        from python_socks._protocols import http, socks4, socks5

        import pywrap

        def state():
            return [
                socks.socksocket._write_SOCKS5_address,
                dict(socks.socksocket._proxy_negotiators),
                *(module.ConnectRequest.dumps for module in (http, socks4, socks5)),
            ]

        before = state()
        pywrap.install("socks5h://192.0.2.99")
        during = state()
        pywrap.uninstall()
        print(state() == before, any(one == other for one, other in zip(before, during, strict=True)))

    assert run(sys.executable, "-c", source_of(program)).out == "True False\n"
