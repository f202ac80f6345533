"""proxychains.conf as people post them: which of them the real tool takes, and which of them we do.

The lines are of the kinds in questions and how-tos, written anew for this table. Where the two differ, a
comment says why.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pywrap.config.partial_settings import settle
from pywrap.config.proxychains import parse
from pywrap.errors import ConfigError
from tests.support import peers
from tests.support.installed import installed

LIST = "[ProxyList]\nsocks5 127.0.0.1 9050\n"
TWO = f"{LIST}socks5 127.0.0.1 9051\n"

# name: the file; does proxychains-ng start a program with it; do we
FILES: dict[str, tuple[str, bool, bool]] = {
    # ---- what samples and how-tos have
    "sample of Debian": (
        "strict_chain\nproxy_dns\nremote_dns_subnet 224\ntcp_read_time_out 15000\ntcp_connect_time_out 8000\n"
        '[ProxyList]\n# add proxy here ...\n# meanwile\n# defaults set to "tor"\nsocks4 \t127.0.0.1 9050\n',
        True,
        True,
    ),
    "sample of 3.1": (
        "#dynamic_chain\nstrict_chain\n#random_chain\n#chain_len = 2\n#quiet_mode\nproxy_dns\n"
        "tcp_read_time_out 15000\ntcp_connect_time_out 8000\n\n[ProxyList]\nsocks4  127.0.0.1 9050\n",
        True,
        True,
    ),
    "Tor by how-tos": (f"dynamic_chain\nproxy_dns\n{LIST}socks4 127.0.0.1 9050\n", True, True),
    "ssh -D": ("strict_chain\nquiet_mode\nproxy_dns\n[ProxyList]\nsocks5 127.0.0.1 1080\n", True, True),
    "no type": (LIST, True, True),
    "only a list": ("[ProxyList]\nhttp 10.0.0.1 3128\n", True, True),
    "passwords": (
        "strict_chain\n[ProxyList]\nsocks5 192.0.2.7 1080 alice s3cr#t\nhttp 192.0.2.8 80 bob x\n",
        True,
        True,
    ),
    "four kinds": (
        "strict_chain\n[ProxyList]\nsocks5 192.0.2.1 1080\nsocks4 192.0.2.2 1080 me\nhttp 192.0.2.3 80\n"
        "raw 192.0.2.4 1\n",
        True,
        True,
    ),
    "localnets": (
        "strict_chain\nlocalnet 127.0.0.0/255.0.0.0\nlocalnet 10.0.0.0/8\n"
        f"localnet 192.168.1.0:80/255.255.255.0\nlocalnet [::1]:80/128\nlocalnet fe80::/10\n{LIST}",
        True,
        True,
    ),
    "dnat": (f"dnat 1.1.1.1:1234  1.1.1.2:443\ndnat 1.1.1.1  1.1.1.2\n{LIST}", True, True),
    "daemon": (f"proxy_dns_daemon 127.0.0.1:1053\n{LIST}", True, True),
    "old names": (f"proxy_dns_old\n{LIST}", True, True),
    "random": (f"random_chain\nchain_len = 1\n{TWO}", True, True),
    "random, no blanks": (f"random_chain\nchain_len=2\n{TWO}", True, True),
    "round robin": (f"round_robin_chain\nchain_len = 2\n{TWO}", True, True),
    "hosts behind the first": (f"strict_chain\nproxy_dns\n{LIST}socks5 proxy.example 1080\n", True, True),
    "URL": ("strict_chain\n[ProxyList]\nsocks5://alice:secret@127.0.0.1:1080\n", True, True),
    "IPv6": ("strict_chain\n[ProxyList]\nsocks5 ::1 1080\n", True, True),
    # ---- spelling
    "DOS lines": ("strict_chain\r\nproxy_dns\r\n[ProxyList]\r\nsocks5 127.0.0.1 9050\r\n", True, True),
    "blanks around": ("  strict_chain \n\t[ProxyList] \n\t socks5\t127.0.0.1\t 9050 \n", True, True),
    "quiet twice": (f"quiet_mode\nstrict_chain\nquiet_mode\n{LIST}", True, True),
    "long comment": (f"# {'x' * 900}\nstrict_chain\n{LIST}", True, True),
    "no end of line": ("strict_chain\n[ProxyList]\nsocks5 127.0.0.1 9050", True, True),
    "comment behind a proxy": ("strict_chain\n[ProxyList]\nsocks5 127.0.0.1 9050 # tor\n", True, True),
    "glued comment": ("strict_chain\n[ProxyList]\nsocks5 127.0.0.1 9050 #tor\n", True, True),
    "comment behind a URL": ("strict_chain\n[ProxyList]\nsocks5://127.0.0.1:9050 # tor\n", True, True),
    "comment behind a password": ("[ProxyList]\nsocks5 127.0.0.1 9050 me pw # mine\n", True, True),
    "words behind a password": ("[ProxyList]\nsocks5 127.0.0.1 9050 me pw elite US\n", True, True),
    "password for socks4": ("[ProxyList]\nsocks4 127.0.0.1 9050 me pw\n", True, True),
    "comment behind a directive": (f"strict_chain # all\nquiet_mode # x\n{LIST}", True, True),
    "timeouts with a unit": (f"tcp_read_time_out 15000 # ms\n{LIST}", True, True),
    # ---- of two, the last counts
    "two types": (f"strict_chain\ndynamic_chain\n{LIST}", True, True),
    "three types": (f"dynamic_chain\nstrict_chain\nrandom_chain\n{LIST}", True, True),
    "two timeouts": (f"tcp_read_time_out 15000\ntcp_read_time_out 8000\n{LIST}", True, True),
    "two subnets": (f"remote_dns_subnet 224\nremote_dns_subnet 10\n{LIST}", True, True),
    "length of a strict chain": (f"strict_chain\nchain_len = 2\n{LIST}", True, True),
    "length of a dynamic chain": (f"dynamic_chain\nchain_len = 1\n{TWO}", True, True),
    # ---- we take more
    "length without =": (f"random_chain\nchain_len 1\n{TWO}", False, True),
    "comment behind a localnet": (f"localnet 127.0.0.0/255.0.0.0 # lo\n{LIST}", False, True),
    "host first": ("strict_chain\nproxy_dns\n[ProxyList]\nsocks5 localhost 9050\n", False, True),
    "URL of socks5h": ("[ProxyList]\nsocks5h://127.0.0.1:9050\n", False, True),
    "URL without a port": ("[ProxyList]\nsocks5://127.0.0.1\n", False, True),
    "username in a URL of socks4": ("[ProxyList]\nsocks4://me@127.0.0.1:9050\n", False, True),
    "brackets": ("[ProxyList]\nsocks5 [::1] 1080\n", False, True),
    # ---- both refuse
    "large type": ("strict_chain\n[ProxyList]\nSOCKS5 127.0.0.1 9050\n", False, False),
    "host:port": ("strict_chain\n[ProxyList]\nsocks5 127.0.0.1:9050\n", False, False),
    "no port": ("strict_chain\n[ProxyList]\nsocks5 127.0.0.1\n", False, False),
    "login before the host": ("strict_chain\n[ProxyList]\nsocks5 me:pw@127.0.0.1 1080\n", False, False),
    "https": ("strict_chain\n[ProxyList]\nhttps 127.0.0.1 443\n", False, False),
    "small section": ("strict_chain\n[proxylist]\nsocks5 127.0.0.1 9050\n", False, False),
    "no section": ("strict_chain\nsocks5 127.0.0.1 9050\n", False, False),
    "comment behind the section": ("strict_chain\n[ProxyList] # mine\nsocks5 127.0.0.1 9050\n", False, False),
    "two sections": (f"strict_chain\n{LIST}{LIST}", False, False),
    "directive below": (f"strict_chain\n{LIST}quiet_mode\n", False, False),
    "semicolon": (f"strict_chain\n{LIST}; off\n", False, False),
    "localnet without a mask": (f"localnet 192.168.1.7\n{LIST}", False, False),
    "wrong subnet": (f"remote_dns_subnet 256\n{LIST}", False, False),
    "dnat of a name": (f"dnat a.example 1.1.1.1\n{LIST}", False, False),
    # ---- theirs goes on with something else than what is written
    # It is one directive less for them: the chain is dynamic.
    "misspelt type": (f"strict_chian\n{LIST}", True, False),
    "large directive": (f"Strict_Chain\n{LIST}", True, False),
    "of another tool": (f"server = 127.0.0.1\n{LIST}", True, False),
    # They go to port 4464.
    "port beyond all": ("strict_chain\n[ProxyList]\nsocks5 127.0.0.1 70000\n", True, False),
    # They drop the line, and take a strict chain without that hop.
    "port 0": (f"strict_chain\n{LIST}socks5 127.0.0.1 0\n", True, False),
    # They read 9050, and a comma as the username.
    "comma": ("strict_chain\n[ProxyList]\nsocks5 127.0.0.1 9050,\n", True, False),
    # They take the length for 1.
    "length in words": (f"random_chain\nchain_len = two\n{TWO}", True, False),
    # They fail at the first connection.
    "length beyond the list": (f"random_chain\nchain_len = 3\n{TWO}", True, False),
    # They keep the value that it had.
    "no value": (f"tcp_read_time_out\n{LIST}", True, False),
}


def ours(text: str) -> bool:
    try:
        settle(parse(text.encode(), "f"))
    except ConfigError:
        return False
    return True


def test_the_table_is_large_enough_to_say_something() -> None:
    assert len(FILES) > 60
    assert sum(we for _, _, we in FILES.values()) > sum(they and we for _, they, we in FILES.values())


@pytest.mark.parametrize("name", FILES)
def test_what_we_take(name: str) -> None:
    text, _, we = FILES[name]
    assert ours(text) == we


def test_what_proxychains_takes(tmp_path: Path) -> None:
    """It reads its file before the program starts, and ends with 1 where it does not like it."""
    with installed():
        tool = peers.find("proxychains4", package="proxychains4")
    file = tmp_path / "proxychains.conf"
    taken = {}
    for name, (text, _, _) in FILES.items():
        file.write_bytes(text.encode())
        taken[name] = subprocess.run([tool, "-q", "-f", file, "true"], capture_output=True).returncode == 0
    assert taken == {name: they for name, (_, they, _) in FILES.items()}
