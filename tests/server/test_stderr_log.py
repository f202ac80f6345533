"""The lines on stderr. What a client chose is in them, and must not look like something else."""

import pytest

from pywrap.server.record import Record, Traffic
from pywrap.server.stderr_log import Log
from pywrap.socks.wire import Endpoint

CLIENT = Endpoint("127.0.0.1", 40000)


def test_a_line_has_the_client_the_request_and_the_outcome(capfd):
    log = Log(0)
    log.record(Record(5, "CONNECT", "example.org", 443, "alice", CLIENT))
    log.record(Record(4, "CONNECT", "2001:db8::1", 443, "", CLIENT, "connection refused"))
    assert capfd.readouterr().err.splitlines() == [
        "pysocksd: 127.0.0.1:40000 alice SOCKS5 CONNECT example.org:443: connected",
        "pysocksd: 127.0.0.1:40000 SOCKS4 CONNECT [2001:db8::1]:443: connection refused",
    ]


ASSOCIATION = Record(5, "UDP ASSOCIATE", "0.0.0.0", 0, "", CLIENT)


def test_the_end_of_an_association_says_what_it_carried(capfd):
    traffic = Traffic()
    traffic.up, traffic.bytes_up, traffic.down, traffic.bytes_down = 3, 300, 2, 50
    Log(1).udp_closed(ASSOCIATION, traffic, 1.23)
    start = "pysocksd: 127.0.0.1:40000 SOCKS5 UDP ASSOCIATE 0.0.0.0:0: closed after 1.2 s, "
    assert capfd.readouterr().err == (f"{start}datagrams: 3 up (300 bytes), 2 down (50 bytes)\n")
    for reason in ("from strangers", "from strangers", "with a broken header"):
        traffic.drop(reason)
    Log(1).udp_closed(ASSOCIATION, traffic, 1.23)
    assert capfd.readouterr().err == (
        f"{start}datagrams: 3 up (300 bytes), 2 down (50 bytes), "
        "dropped: 2 from strangers, 1 with a broken header\n"
    )
    Log(0).udp_closed(ASSOCIATION, traffic, 1.23)
    assert capfd.readouterr().err == ""


def test_one_byte_is_singular(capfd):
    traffic = Traffic()
    traffic.up, traffic.bytes_up = 1, 1
    Log(1).udp_closed(ASSOCIATION, traffic, 0.5)
    Log(1).closed(Record(5, "CONNECT", "192.0.2.1", 80, "", CLIENT), 1, 0, 0.5)
    udp, tcp = capfd.readouterr().err.splitlines()
    assert udp.endswith("datagrams: 1 up (1 byte), 0 down (0 bytes)")
    assert tcp.endswith("closed after 0.5 s, 1 byte up, 0 bytes down")


def test_lines_with_an_answer(capfd):
    log = Log(0)
    log.record(Record(5, "BIND", "192.0.2.1", 21, "", CLIENT, "", Endpoint("192.0.2.7", 4021)))
    log.arrived(Record(5, "BIND", "192.0.2.1", 21, "", CLIENT, "", Endpoint("192.0.2.1", 20)))
    log.arrived(Record(5, "BIND", "192.0.2.1", 21, "", CLIENT, "no peer came in time"))
    log.record(Record(5, "RESOLVE_PTR", "192.0.2.1", 0, "", CLIENT, "", Endpoint("a b.test", 0)))
    assert capfd.readouterr().err.splitlines() == [
        "pysocksd: 127.0.0.1:40000 SOCKS5 BIND 192.0.2.1:21: listening on 192.0.2.7:4021",
        "pysocksd: 127.0.0.1:40000 SOCKS5 BIND 192.0.2.1:21: connected from 192.0.2.1:20",
        "pysocksd: 127.0.0.1:40000 SOCKS5 BIND 192.0.2.1:21: no peer came in time",
        r"pysocksd: 127.0.0.1:40000 SOCKS5 RESOLVE_PTR 192.0.2.1:0: a\x20b.test",
    ]


@pytest.mark.parametrize(
    "text, shown",
    [
        ("x\npysocksd forged", r"x\x0apysocksd\x20forged"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a b", r"a\x20b"),
        ("björn", "björn"),
        ("\u202egro", r"\x202egro"),
    ],
)
def test_a_client_cannot_forge_a_line(capfd, text, shown):
    Log(0).record(Record(4, "CONNECT", text, 80, text, CLIENT))
    assert capfd.readouterr().err == (
        f"pysocksd: 127.0.0.1:40000 {shown} SOCKS4 CONNECT {shown}:80: connected\n"
    )


def test_quiet_still_warns(capfd):
    log = Log(-1)
    log.record(Record(5, "CONNECT", "example.org", 443, "", CLIENT))
    log.trouble("127.0.0.1:1: hung up")
    log.warning("this matters")
    assert capfd.readouterr().err == "pysocksd: warning: this matters\n"
