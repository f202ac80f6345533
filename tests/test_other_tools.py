"""The same file does the same here as in the tool that it was written for: proxychains-ng, tsocks, torsocks.

Both run the same program, and the proxies tell what each asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.child import source_of
from tests.support.installed import installed
from tests.support.naming_proxy import naming_proxy
from tests.support.run import program, pysocksify, run

HERE = "127.0.0.1"


@pytest.fixture(scope="session")
def proxychains() -> str:
    with installed():
        return peers.find("proxychains4", package="proxychains4")


@pytest.fixture(scope="session")
def torsocks() -> str:
    with installed():
        return peers.find("torsocks", package="torsocks")


@pytest.fixture(scope="session")
def tsocks() -> str:
    with installed():
        return peers.find("tsocks", package="tsocks")


def test_a_file_of_proxychains(proxychains: str, tmp_path: Path, echo_server: Any) -> None:
    with naming_proxy({"a.example": HERE}) as first, naming_proxy() as last:
        file = tmp_path / "proxychains.conf"
        file.write_text(
            f"""\
strict_chain
quiet_mode
proxy_dns
remote_dns_subnet 224
tcp_read_time_out 15000
tcp_connect_time_out 8000
localnet {HERE}:{echo_server.port}/255.255.255.255
# The more special one is second.
dnat 203.0.113.1 203.0.113.2
dnat 203.0.113.1:80 203.0.113.3:81
dnat 203.0.113.4:80 203.0.113.5
[ProxyList]
socks5 {first.host} {first.port}
socks5 {last.host} {last.port}
"""
        )
        places = [
            *("203.0.113.1:80", "203.0.113.1:82", "203.0.113.4:80", "203.0.113.4:81", "203.0.113.9:1"),
            *(f"{HERE}:{echo_server.port}", "a.example:80", "198.51.100.1:65535"),
        ]
        asked = []
        for command in ((proxychains, "-f", str(file)), pysocksify("-f", file)):
            said = run(*command, *program("reach.py"), *places).json
            # The others are refused by the last proxy, with an errno that is not the same here.
            assert [place for place in places if said[place] == "done"] == [f"{HERE}:{echo_server.port}"]
            asked.append([first.asked.copy(), last.asked.copy()])
            first.asked.clear()
            last.asked.clear()
    assert asked[0] == asked[1]
    assert asked[1] == [
        [("CONNECT", last.host, last.port)] * 7,
        [
            *(("CONNECT", "203.0.113.3", 81), ("CONNECT", "203.0.113.2", 82), ("CONNECT", "203.0.113.5", 80)),
            *(("CONNECT", "203.0.113.4", 81), ("CONNECT", "203.0.113.9", 1), ("CONNECT", "a.example", 80)),
            ("CONNECT", "198.51.100.1", 65535),
        ],
    ]


@pytest.mark.parametrize("allowed", ["", "AllowOutboundLocalhost 1\n", "AllowOutboundLocalhost 2\n"])
def test_a_file_of_torsocks(torsocks: str, tmp_path: Path, echo_server: Any, allowed: str) -> None:
    with naming_proxy() as proxy:
        file = tmp_path / "torsocks.conf"
        file.write_text(f"TorAddress {proxy.host}\nTorPort {proxy.port}\n{allowed}")
        here = f"{HERE}:{echo_server.port}"
        places = [
            here,
            "203.0.113.1:80",
            f"connect/{here}",
            f"send/{here}",
            "connect/203.0.113.1:9",
            "send/203.0.113.1:9",
        ]
        results = []
        for command, env in (
            ((torsocks,), {"TORSOCKS_CONF_FILE": str(file)}),
            (pysocksify("-f", file), {}),
        ):
            said = run(*command, *program("reach.py"), *places, env=env).json
            results.append((said, proxy.asked.copy()))
            proxy.asked.clear()
    assert results[0] == results[1]
    said, asked = results[1]
    assert asked == [("CONNECT", "203.0.113.1", 80)]
    assert [said[place] for place in (here, f"send/{here}")] == {
        "": ["EPERM", "EPERM"],
        "AllowOutboundLocalhost 1\n": ["done", "EPERM"],
        "AllowOutboundLocalhost 2\n": ["done", "done"],
    }[allowed]
    assert said["send/203.0.113.1:9"] == "EPERM"


def test_ipv6_is_for_users_that_enable_it(torsocks: str, tmp_path: Path) -> None:
    with naming_proxy() as proxy:
        file = tmp_path / "torsocks.conf"
        file.write_text(f"TorAddress {proxy.host}\nTorPort {proxy.port}\n")
        for command, env in (
            ((torsocks,), {"TORSOCKS_CONF_FILE": str(file)}),
            (pysocksify("-f", file), {}),
        ):
            said = run(*command, *program("reach.py"), "2001:db8::1:80", env=env).json
            assert said["2001:db8::1:80"] in ("ENOSYS", "EPERM")
        assert proxy.asked == []
        # Enabled, torsocks still asks no name server when its proxy has an IPv4 address.
        file.write_text(f"{file.read_text()}EnableIPv6 1\n")
        run(*pysocksify("-f", file), *program("reach.py"), "2001:db8::1:80")
        assert proxy.asked == [("CONNECT", "2001:db8::1", 80)]


@pytest.mark.parametrize("chain", ["strict_chain", "dynamic_chain", "round_robin_chain\nchain_len = 1"])
def test_chains_of_proxychains(proxychains: str, tmp_path: Path, chain: str, refusing_port: int) -> None:
    """Who is asked for what, with one that is not there; of round_robin_chain, with all of them there.

    Of one proxy each: a longer chain that goes beyond the end of the list has proxychains begin anew from the
    top, against its own manual ("the proxy after the last proxy in the previously invoked proxy chain").
    """
    file = tmp_path / "proxychains.conf"
    places = [f"203.0.113.{number}:80" for number in range(5)]
    gone = "" if "robin" in chain else f"socks5 {HERE} {refusing_port}\n"
    asked = []
    with naming_proxy() as first, naming_proxy() as second, naming_proxy() as third:
        proxies = (first, second, third)
        file.write_text(
            f"{chain}\nquiet_mode\n[ProxyList]\n"
            f"socks5 {HERE} {first.port}\n{gone}socks5 {HERE} {second.port}\nsocks5 {HERE} {third.port}\n"
        )
        for command in ((proxychains, "-f", str(file)), pysocksify("-f", file)):
            said = run(*command, *program("reach.py"), *places).json
            assert "done" not in said.values()
            asked.append([proxy.asked.copy() for proxy in proxies])
            for proxy in proxies:
                proxy.asked.clear()
    assert asked[0] == asked[1]
    assert any(asked[1])


# Prints the address of each name, and goes there.
def go():
    import socket
    import sys

    for name in sys.argv[1:]:
        print(address := socket.gethostbyname(name))
        with socket.socket() as sock:
            try:
                sock.connect((address, 80))
            except OSError:
                pass


@pytest.mark.parametrize("first_byte", [224, 10, 127])
def test_placeholders_of_proxychains(proxychains: str, tmp_path: Path, first_byte: int) -> None:
    file = tmp_path / "proxychains.conf"
    results = []
    with naming_proxy() as proxy:
        file.write_text(
            f"quiet_mode\nstrict_chain\nproxy_dns\nremote_dns_subnet {first_byte}\n"
            f"[ProxyList]\nsocks5 {proxy.host} {proxy.port}\n"
        )
        for command in ((proxychains, "-f", str(file)), pysocksify("-f", file)):
            addresses = run(
                *command, sys.executable, "-c", source_of(go), "a.example", "b.example"
            ).out.split()
            results.append(([address.split(".")[0] for address in addresses], proxy.asked.copy()))
            proxy.asked.clear()
    assert results[0] == results[1]
    assert results[1] == (
        [str(first_byte)] * 2,
        [("CONNECT", "a.example", 80), ("CONNECT", "b.example", 80)],
    )


def test_names_of_torsocks(torsocks: str, tmp_path: Path) -> None:
    file = tmp_path / "torsocks.conf"
    results = []
    with naming_proxy({"a.example": "203.0.113.7"}) as proxy:
        file.write_text(f"TorAddress {proxy.host}\nTorPort {proxy.port}\nOnionAddrRange 10.1.2.0/24\n")
        for wrapped, env in (
            ((torsocks,), {"TORSOCKS_CONF_FILE": str(file)}),
            (pysocksify("-f", file), {}),
        ):
            addresses = run(
                *wrapped, sys.executable, "-c", source_of(go), "a.example", "x.onion", env=env
            ).out.split()
            # The port of a RESOLVE means nothing; torsocks says 42.
            asked = [(command, host) for command, host, _ in proxy.asked]
            results.append((addresses[0], addresses[1].rpartition(".")[0], asked))
            proxy.asked.clear()
    assert results[0] == results[1]
    assert results[1] == (
        "203.0.113.7",
        "10.1.2",
        [("RESOLVE", "a.example"), ("CONNECT", "203.0.113.7"), ("CONNECT", "x.onion")],
    )


# tsocks takes every connection on a socket with a timeout for made.
def go_and_wait():
    import errno
    import socket
    import sys

    for place in sys.argv[1:]:
        host, _, port = place.rpartition(":")
        with socket.socket() as sock:
            print(place, errno.errorcode.get(sock.connect_ex((host, int(port)))))


@pytest.mark.parametrize("version", [4, 5])
def test_a_file_of_tsocks(tsocks: str, tmp_path: Path, echo_server: Any, version: int) -> None:
    file = tmp_path / "tsocks.conf"
    here = f"{HERE}:{echo_server.port}"
    places = ["192.0.2.1:80", "192.0.2.1:90", "192.0.2.1:100", "198.51.100.1:80", "203.0.113.1:80", here]
    results = []
    with naming_proxy() as first, naming_proxy() as second, naming_proxy() as rest:
        file.write_text(
            f"""\
local = 127.0.0.0/255.0.0.0
path {{
    reaches = 192.0.2.0:80-90/255.255.255.0
    server = {first.host}
    server_port = {first.port}
    server_type = {version}
}}
# This one comes first.
path {{
    reaches = 198.51.100.0/255.255.255.0
    reaches = 192.0.2.0:1-80/255.255.255.0
    server = {second.host}
    server_port = {second.port}
    server_type = 5
}}
server = {rest.host}
server_port = {rest.port}
server_type = {version}
"""
        )
        for wrapped, env in (
            ((tsocks,), {"TSOCKS_CONF_FILE": str(file)}),
            (pysocksify("-f", file), {}),
        ):
            said = run(*wrapped, sys.executable, "-c", source_of(go_and_wait), *places, env=env).out
            results.append((said, [proxy.asked.copy() for proxy in (first, second, rest)]))
            for proxy in (first, second, rest):
                proxy.asked.clear()
    assert results[0] == results[1]
    said, asked = results[1]
    assert f"{here} None" in said
    assert asked == [
        [("CONNECT", "192.0.2.1", 90)],
        [("CONNECT", "192.0.2.1", 80), ("CONNECT", "198.51.100.1", 80)],
        [("CONNECT", "192.0.2.1", 100), ("CONNECT", "203.0.113.1", 80)],
    ]


UNKNOWN = {
    "torsocks": "TorPort {port}\nColour blue\nTorPrt 1\n",
    "tsocks": "local = 127.0.0.0/255.0.0.0\nserver = 127.0.0.1\nserver_port = {port}\ncolour = blue\n",
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_unknown_directive_is_reported_and_stops_nothing(name: str, tmp_path: Path, request: Any) -> None:
    tool = request.getfixturevalue(name)
    file = tmp_path / f"{name}.conf"
    with naming_proxy() as proxy:
        file.write_text(UNKNOWN[name].format(port=proxy.port))
        for wrapped, env in (
            ((tool,), {f"{name.upper()}_CONF_FILE": str(file)}),
            (pysocksify("-f", file), {}),
        ):
            ran = run(*wrapped, sys.executable, "-c", source_of(go_and_wait), "192.0.2.1:80", env=env)
            assert "olour" in ran.err
        assert proxy.asked == [("CONNECT", "192.0.2.1", 80)] * 2


# Without the name of a server: the file, and the password that the tool takes from it.
PASSWORDS = {
    "torsocks": [
        ("SOCKS5Username me\nSOCKS5Password #pw\n", "#pw"),
        # With three words or more, torsocks takes the username for none (findings/).
        ("SOCKS5Username me # x\nSOCKS5Password p#w # and it\n", "p#w"),
    ],
    "tsocks": [("server_type = 5\ndefault_user = me # it is me\ndefault_pass = p#w\n", "p#w")],
}


@pytest.mark.parametrize(
    ("name", "text", "password"),
    [(name, text, password) for name, files in PASSWORDS.items() for text, password in files],
)
def test_a_number_sign_in_a_password(
    name: str, text: str, password: str, tmp_path: Path, request: Any
) -> None:
    tool = request.getfixturevalue(name)
    file = tmp_path / f"{name}.conf"
    with naming_proxy(takes_any_login=True) as proxy:
        server = (
            f"TorPort {proxy.port}\n"
            if name == "torsocks"
            else f"local = 127.0.0.0/255.0.0.0\nserver = {HERE}\nserver_port = {proxy.port}\n"
        )
        file.write_text(server + text)
        for wrapped, env in (
            ((tool,), {f"{name.upper()}_CONF_FILE": str(file)}),
            (pysocksify("-f", file), {}),
        ):
            run(*wrapped, sys.executable, "-c", source_of(go_and_wait), "192.0.2.1:80", env=env)
        assert proxy.logins == [(b"me", password.encode())] * 2
