"""The report of --check: tables, words, JSON."""

from __future__ import annotations

import json

from pywrap.launch.check.report import NO, UNKNOWN, Finding, in_json, in_words
from tests.support.examined import (
    NOTHING_ELSE,
    reported,
)


def test_table():
    good = reported(
        "socks5h://alice:secret@first.example",
        "yes yes yes yes yes yes yes no unknown no yes no no unknown",
        connect_time=0.0001,
        reply_time=0.123,
    )
    good.findings["udp"] = Finding(NO, "command not supported by the proxy")
    bad = reported(
        "socks4a://second.example:1081",
        "no absent absent absent",
        error="cannot reach the proxy second.example:1081: No route to host",
        other_clients={
            "python-socks": Finding(NO, "it said so"),
            "PySocks": Finding(UNKNOWN, "not installed"),
        },
    )
    behind = reported(
        "socks4a://second.example:1081",
        "yes absent absent absent yes",
        ["socks5h://alice:secret@first.example"],
        connect_time=0.0096,
    )
    assert (
        in_words([good, bad, behind])
        == """\
1  socks5h://alice:***@first.example:1080
2  socks4a://second.example:1081
3  2 through 1

   reachable  latency     methods        CONNECT  names  IPv6  UDP  BIND  pipe  half
1  yes        0.1/123 ms  none pass gss  yes      yes    yes   no   no    part  no
2  no         ?           -              ?        ?      ?     ?    ?     ?     ?
3  yes        10 ms       -              yes      ?      ?     ?    ?     ?     ?

1  UDP: command not supported by the proxy
2  error: cannot reach the proxy second.example:1081: No route to host
   python-socks: fails too: it said so
   PySocks: not installed

latency: until connected / until the greeting was answered
pipe: takes greeting, request and data at once, without a wait (pipelining)
half: what a server answers to the end of a client's data (shutdown) comes back
?: cannot be told (--check-target HOST:PORT may help)
-: its protocol has no such thing
part: greeting and request at once; data right behind them gets lost

SSRF guards take the addresses of --dns remote no, tor ?, tcp yes, local yes

2 of 3 work, not seen to work: 2
"""
    )


def test_one_proxy_without_trouble_needs_few_words():
    good = reported(
        "socks5h://h",
        "yes yes no no yes yes yes yes yes yes yes yes yes yes",
        connect_time=0.001,
        reply_time=0.001,
    )
    assert in_words([good]).splitlines()[2:] == [
        "   reachable  latency     methods  CONNECT  names  IPv6  UDP  BIND  pipe  half",
        "1  yes        1.0/1.0 ms  none     yes      yes    yes   yes  yes   yes   yes",
        "",
        "latency: until connected / until the greeting was answered",
        "pipe: takes greeting, request and data at once, without a wait (pipelining)",
        "half: what a server answers to the end of a client's data (shutdown) comes back",
        "",
        "SSRF guards take the addresses of --dns remote no, tor yes, tcp yes, local yes",
        "",
        "works",
    ]


def test_lines_fit_a_terminal_and_addresses_stay_whole():
    told = in_words([reported("socks5h://h", "yes", error="many words " * 30 + "[2001:db8::1]:1080")] * 12)
    assert max(map(len, told.splitlines())) <= 80
    assert "[2001:db8::1]:1080" in told


def test_keys_of_the_json():
    finding = {"verdict": "unknown", "why": "not asked"}
    assert json.loads(in_json([reported("socks4://u@h", error="it burns")])) == {
        "works": False,
        "guards": {"remote": "no", "tor": "unknown", "tcp": "yes", "local": "yes"},
        "before_pysocksify": [],
        "proxies": [
            {
                "proxy": "socks4://u@h:1080",
                "through": [],
                "counts": True,
                "works": False,
                "error": "it burns",
                "connect_ms": None,
                "reply_ms": None,
                "reachable": finding,
                **dict.fromkeys(NOTHING_ELSE, finding),
                "other_clients": {},
            }
        ],
    }
