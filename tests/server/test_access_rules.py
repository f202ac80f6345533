"""A table of decisions, and the server and ``--explain`` that both keep to it."""

import socket

import pytest

from pywrap.errors import ConfigError
from pywrap.server.access_rules import COMMANDS, Guard, Judge, Party, Rules, parse_access
from pywrap.socks.wire import Endpoint, packed
from tests.support.raw_sockets import receive
from tests.support.servers import reference_server

RULES = """
deny connect to *:25
allow user alice
deny from 192.0.2.0/24
allow from 198.51.100.7,2001:db8::/32 connect,udp *.corp.example:443,10.1.0.0/16
deny 10.0.0.0/8,fd00::/8
deny bind
deny to bad.example,*.bad.example
allow udp *:53
deny udp
allow 127.0.0.1:8000-8999
"""


def read(text):
    return [parse_access(*line.partition(" ")[::2]) for line in text.strip().splitlines()]


# The client, its user, the command, the destination and where it leads; what the rules say without a guard,
# and with it. "-" is a refusal.
TABLE = """
198.51.100.7  -     connect  192.0.2.80:80            +  +
198.51.100.7  -     connect  192.0.2.80:25            -  -
198.51.100.7  alice connect  192.0.2.80:25            -  -
192.0.2.9     -     connect  203.0.113.1:80           -  -
192.0.2.9     alice connect  203.0.113.1:80           +  +
192.0.2.9     bob   connect  203.0.113.1:80           -  -
192.0.2.255   -     udp      203.0.113.1:53           -  -
192.0.3.0     -     udp      203.0.113.1:53           +  +
198.51.100.7  -     connect  10.1.2.3:80              +  +
198.51.100.8  -     connect  10.1.2.3:80              -  -
198.51.100.7  -     udp      10.1.2.3:80              +  +
198.51.100.7  -     bind     10.1.2.3:80              -  -
2001:db8::5   -     connect  10.1.2.3:80              +  +
2001:db9::5   -     connect  10.1.2.3:80              -  -
198.51.100.7  -     connect  10.2.0.1:80              -  -
198.51.100.7  alice connect  10.2.0.1:80              +  -
198.51.100.7  -     connect  fd00::1:80               -  -
198.51.100.7  -     connect  wiki.corp.example:443=10.2.0.1      +  +
198.51.100.7  -     connect  WIKI.corp.example.:443=10.2.0.1     +  +
198.51.100.7  -     connect  wiki.corp.example:80=10.2.0.1       -  -
198.51.100.7  -     connect  corp.example:443=10.2.0.1           -  -
198.51.100.8  -     connect  wiki.corp.example:443=10.2.0.1      -  -
198.51.100.8  -     connect  wiki.corp.example:443=203.0.113.9   +  +
198.51.100.7  -     connect  rebinding.test:80=10.2.0.1          -  -
198.51.100.7  -     connect  rebinding.test:80=127.0.0.1         +  -
198.51.100.7  -     connect  rebinding.test:80=::1               +  -
198.51.100.7  -     connect  rebinding.test:80=169.254.169.254   +  -
198.51.100.7  -     connect  rebinding.test:80=::ffff:10.2.0.1   -  -
198.51.100.7  -     connect  rebinding.test:80=203.0.113.9       +  +
198.51.100.7  -     connect  rebinding.test:8080=127.0.0.1       +  +
198.51.100.7  alice connect  rebinding.test:80=127.0.0.1         +  -
198.51.100.7  -     connect  bad.example:80=203.0.113.9          -  -
198.51.100.7  -     connect  www.bad.example:80=203.0.113.9      -  -
198.51.100.7  -     connect  notbad.example:80=203.0.113.9       +  +
198.51.100.7  alice connect  bad.example:80=203.0.113.9          +  +
198.51.100.7  -     connect  127.0.0.1:8000           +  +
198.51.100.7  -     connect  127.0.0.1:8999           +  +
198.51.100.7  -     connect  127.0.0.1:9000           +  -
198.51.100.7  -     connect  127.0.0.2:8000           +  -
198.51.100.7  -     connect  ::ffff:127.0.0.1:8000    +  +
198.51.100.7  -     connect  ::1:8000                 +  -
198.51.100.7  -     connect  fe80::1:80               +  -
198.51.100.7  -     connect  172.16.0.1:80            +  -
198.51.100.7  -     connect  172.32.0.1:80            +  +
198.51.100.7  -     connect  192.168.1.1:80           +  -
198.51.100.7  -     connect  100.64.0.1:80            +  -
198.51.100.7  -     connect  64:ff9b::c0a8:101:80     +  -
198.51.100.7  -     connect  64:ff9b::cb00:7109:80    +  +
198.51.100.7  -     connect  2002:7f00:1::1:80        +  -
198.51.100.7  -     connect  2001:db8::80:80          +  +
198.51.100.7  -     connect  203.0.113.1:1080         +  -
198.51.100.7  -     udp      203.0.113.1:443          -  -
198.51.100.7  -     udp      203.0.113.9:53           +  +
198.51.100.7  -     udp      10.2.0.1:53              -  -
198.51.100.7  -     udp      192.168.1.1:53           +  -
198.51.100.7  alice udp      203.0.113.9:443          +  +
198.51.100.7  -     bind     0.0.0.0:0                -  -
198.51.100.7  alice bind     0.0.0.0:0                +  +
198.51.100.7  -     resolve  example.org:0=203.0.113.9           +  +
198.51.100.7  -     resolve  www.bad.example:0=203.0.113.9       -  -
198.51.100.7  -     resolve  intranet.test:0=10.2.0.1            -  -
198.51.100.7  -     resolve  localhost:0=127.0.0.1               +  -
"""


def rows():
    for line in TABLE.strip().splitlines():
        client, user, command, destination, *expected = line.split()
        where, _, address = destination.partition("=")
        host, _, port = where.rpartition(":")
        yield client, user, command, host, int(port), address or host, *expected


def decide(rules, client, user, command, host, port, address):
    """As a request is decided: first by its name, then by where it leads."""
    judge = Judge(rules, Party(packed(client), b"" if user == "-" else user.encode(), command))
    if packed(host) is None and judge.name(host, port):
        return "-"
    return "-" if judge.address(Endpoint(host, port), address) else "+"


@pytest.mark.parametrize("row", list(rows()), ids=lambda row: " ".join(map(str, row)))
def test_the_table(row):
    *request, plain, guarded = row
    rules = read(RULES)
    own = Guard(lambda address, port: (address, port) == (packed("203.0.113.1"), 1080))
    assert decide(Rules(rules), *request) == plain
    assert decide(Rules(rules, own), *request) == guarded


def test_the_table_is_long_enough():
    assert len(list(rows())) >= 60


def test_the_rule_that_decides_is_told():
    rules = Rules([parse_access("deny", "connect *:25", "/etc/pysocksd.conf:3")])
    judge = Judge(rules, Party(packed("192.0.2.1"), b"", "connect"))
    assert judge.name("example.org", 25) == "not allowed: /etc/pysocksd.conf:3: deny connect *:25"
    assert judge.name("example.org", 26) == ""


@pytest.mark.parametrize(
    "text, message",
    [
        ("from", "nothing after `from`: `allow from`"),
        ("from 10.0.0.0/33", "not a netmask: `33`"),
        ("from host.example", "not an address: `host.example`"),
        ("conect *:25", "unknown word `conect` in `allow conect *:25`"),
        ("connect a b", "unknown word `a` in `allow connect a b`"),
        ("*:0", "not a network, address or name: `*:0` (not a port: `0`)"),
    ],
)
def test_a_rule_that_is_none(text, message):
    with pytest.raises(ConfigError) as caught:
        parse_access("allow", text)
    assert str(caught.value) == message


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_a_word_and_after_to_a_host(command):
    assert parse_access("deny", command).commands == (command,)
    assert parse_access("deny", f"to {command}").commands == ()


# ---------------------------------------------------------------- the server


def ask(client, server, command, destination):
    sock = client.connect(server)
    sock.sendall(b"\x05\x01\x00" + bytes([5, command, 0]) + destination)
    assert receive(sock, 2) == b"\x05\x00"
    return receive(sock, 4)[1]


def test_a_request_against_the_rules_gets_reply_2(target, client, names):
    names["good.test"] = ["127.0.0.1"]
    names["evil.test"] = ["127.0.0.2", "127.0.0.1"]
    names["both.test"] = ["127.0.0.2"]
    rules = read("deny *:25\ndeny to 127.0.0.2\ndeny to unasked.test\ndeny bind\ndeny resolve\ndeny udp")
    with reference_server(rules=rules) as server:
        port = target.port_bytes
        for name, code in (b"good.test", 0), (b"evil.test", 0), (b"both.test", 2), (b"unasked.test", 2):
            assert ask(client, server, 1, b"\x03" + bytes([len(name)]) + name + port) == code
        # The address that was refused was left out.
        assert target.accept().getsockname()[0] == target.accept().getsockname()[0] == "127.0.0.1"
        for command in (2, 3, 0xF0):
            assert ask(client, server, command, b"\x01" + target.address) == 2
        assert ask(client, server, 1, b"\x01" + b"\x7f\0\0\1" + b"\x00\x19") == 2
        sock = client.connect(server)
        sock.sendall(b"\x04\x01" + b"\x00\x19" + b"\x7f\0\0\1" + b"\0")
        assert receive(sock, 2) == b"\x00\x5b"
    assert server.seen[-1].outcome == "not allowed: deny *:25"
    assert server.seen[2].outcome == "not allowed: deny to 127.0.0.2 (127.0.0.2)"


def test_guarded_it_refuses_itself_and_what_is_near(target, client, names):
    names["rebound.test"] = ["127.0.0.1"]
    allowed = read(f"allow 127.0.0.1:{target.port}")
    with reference_server(rules=allowed, guarded=True) as server:
        assert ask(client, server, 1, b"\x01" + target.address) == 0
        assert ask(client, server, 1, b"\x03" + b"\x0crebound.test" + b"\x00\x50") == 2
        assert ask(client, server, 1, b"\x01" + b"\x7f\0\0\1" + server.port.to_bytes(2, "big")) == 2
    with reference_server(rules=read("allow *"), guarded=True) as server:
        assert ask(client, server, 1, b"\x01" + target.address) == 2


def test_datagrams_go_where_the_rules_allow_it(client, names):
    names["good.test"] = ["127.0.0.1"]
    names["evil.test"] = ["127.0.0.2"]
    rules = read("deny to 127.0.0.2,unasked.test")
    with reference_server(rules=rules) as server, socket.socket(type=socket.SOCK_DGRAM) as peer:
        peer.settimeout(30)
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1].to_bytes(2, "big")
        sock = client.connect(server)
        sock.sendall(b"\x05\x01\x00" + b"\x05\x03\x00\x01" + bytes(6))
        relay = ("127.0.0.1", int.from_bytes(receive(sock, 12)[-2:], "big"))
        with socket.socket(type=socket.SOCK_DGRAM) as udp:
            for name in b"evil.test", b"unasked.test", b"good.test":
                udp.sendto(b"\0\0\0\x03" + bytes([len(name)]) + name + port + name, relay)
            udp.sendto(b"\0\0\0\x01" + b"\x7f\0\0\2" + port + b"no", relay)
            assert peer.recv(100) == b"good.test"
            udp.sendto(b"\0\0\0\x01" + b"\x7f\0\0\1" + port + b"yes", relay)
            assert peer.recv(100) == b"yes"
        sock.close()
        (_, traffic, _) = server.wait_for_udp_closed(1)[0]
        # On a busy machine evil.test is still looked up when the association ends, which drops what waits.
        assert sum(traffic.dropped.values()) == 3
        assert traffic.dropped["to where the rules do not allow it"] in (2, 3)
