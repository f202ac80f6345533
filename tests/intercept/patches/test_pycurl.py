"""pycurl of the newest release: libcurl connects to nothing but our port, and looks nothing up."""

from __future__ import annotations

import http.server
import ipaddress
import sys
import threading

import pytest

from tests.support.child import source_of
from tests.support.destinations import HELLO, ONLY_THE_PROXY_KNOWS
from tests.support.inside import say
from tests.support.naming_proxy import naming_proxy
from tests.support.put_back import check_put_back
from tests.support.run import program, pysocksify, run

BODY = HELLO.decode()
HOWS = pytest.mark.parametrize("how", ["easy", "reuse", "multi", "tornado"])


@pytest.fixture
def proxy():
    with naming_proxy({ONLY_THE_PROXY_KNOWS: "127.0.0.1"}) as proxy:
        yield proxy


def through(proxy, *options):
    return pysocksify("-x", proxy.url(), "--loopback", "proxy", *options)


def check_clean(seen, proxy):
    """Nothing but ``proxy`` was reached for, and our own port."""
    others = {host for host, port in seen.destinations if (host, port) != (proxy.host, proxy.port)}
    assert (proxy.host, proxy.port) in seen.destinations
    assert all(ipaddress.ip_address(host) in ipaddress.ip_network("127.0.0.0/8") for host in others)
    assert "127.0.0.1" not in others, str(seen)
    assert seen.families <= {"AF_INET", "AF_INET6"}, str(seen)


@HOWS
def test_a_page_behind_the_proxy(how, trace, proxy, http_server):
    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran, seen = trace(*through(proxy), *program("fetch_pycurl.py"), how, url)
    assert ran.json == {"status": 200, "body": BODY}, str(ran)
    assert {*proxy.asked} == {("CONNECT", ONLY_THE_PROXY_KNOWS, http_server.port)}
    check_clean(seen, proxy)


@HOWS
def test_a_page_with_tls(how, trace, proxy, https_server):
    url = https_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran, seen = trace(*through(proxy), *program("fetch_pycurl.py"), how, url, https_server.ca_pem)
    assert ran.json == {"status": 200, "body": BODY}, str(ran)
    check_clean(seen, proxy)


class Redirect(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(302)
        self.send_header("Location", self.server.place)
        self.end_headers()

    def log_message(self, *args):
        pass


def test_a_redirect_to_a_name_is_left_to_the_proxy(trace, proxy, http_server):
    with http.server.HTTPServer(("127.0.0.1", 0), Redirect) as server:
        server.place = http_server.url(host=ONLY_THE_PROXY_KNOWS)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/"
            ran, seen = trace(*through(proxy), *program("fetch_pycurl.py"), "easy", url)
        finally:
            server.shutdown()
            thread.join()
        place = ("CONNECT", "127.0.0.1", server.server_port)
    assert ran.json == {"status": 200, "body": BODY}, str(ran)
    assert proxy.asked == [place, ("CONNECT", ONLY_THE_PROXY_KNOWS, http_server.port)]
    check_clean(seen, proxy)


@pytest.mark.parametrize("how", ["easy", "multi"])
def test_a_refusal_is_the_error_of_a_connection(how, proxy, refusing_port):
    bare = run(*program("fetch_pycurl.py"), how, f"http://127.0.0.1:{refusing_port}/").json
    ran = run(*through(proxy), *program("fetch_pycurl.py"), how, f"http://127.0.0.1:{refusing_port}/")
    assert ran.json["error"] == bare["error"] == 7, str(ran)


def test_what_is_direct_arrives_directly(trace, proxy, http_server):
    ran, seen = trace(*pysocksify("-x", proxy.url()), *program("fetch_pycurl.py"), "easy", http_server.url())
    assert ran.json == {"status": 200, "body": BODY}, str(ran)
    assert proxy.asked == []


def elsewhere():
    import sys

    import pycurl

    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, "http://elsewhere.test/")
    curl.setopt(pycurl.OPENSOCKETFUNCTION, lambda *_: 1 / 0)
    curl.setopt(pycurl.NOPROXY, "*")
    curl.setopt(pycurl.PROXY, sys.argv[1])
    try:
        curl.perform()
    except pycurl.error as err:
        print(err.args[0])


def test_a_socks_proxy_of_its_own_gets_no_socket(trace, proxy):
    ran, seen = trace(*through(proxy), sys.executable, "-c", source_of(elsewhere), "socks5h://192.0.2.1:1080")
    # Two SOCKS proxies are none that libcurl could resolve.
    assert ran.out == "5\n", str(ran)
    assert "192.0.2.1" not in {host for host, _ in seen.destinations}, str(seen)


def test_an_http_proxy_of_its_own_is_reached_through_ours(trace, proxy):
    command = (*through(proxy), sys.executable, "-c", source_of(elsewhere), "http://its-own.test:3128")
    _, seen = trace(*command)
    assert proxy.asked == [("CONNECT", "its-own.test", 3128)]
    check_clean(seen, proxy)


def test_files_of_the_program_keep_their_mode_when_sockets_have_a_default_timeout(proxy, http_server):
    # Each descriptor of the process is looked at, to find whose connection it is.
    def program(url):
        import os
        import socket

        import pycurl

        files = [*os.pipe(), *(sock.detach() for sock in socket.socketpair())]
        # Above that of the connection, which ends the search.
        files = [os.dup2(fd, 200 + fd) for fd in files]
        socket.setdefaulttimeout(30)
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.WRITEFUNCTION, lambda data: None)
        curl.perform()
        say(status=curl.getinfo(pycurl.RESPONSE_CODE), blocking=[os.get_blocking(fd) for fd in files])

    url = http_server.url(host=ONLY_THE_PROXY_KNOWS)
    ran = run(*through(proxy), sys.executable, "-c", source_of(program, url), url)
    assert ran.json == {"status": 200, "blocking": [True] * 4}


def test_uninstall_leaves_no_trace():
    check_put_back("pycurl:Curl", subclasses=True)
    check_put_back("pycurl:CurlMulti")
