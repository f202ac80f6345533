"""BIND by itself: where the peer has to connect to, and the second reply."""

from __future__ import annotations

import errno

import pytest

from pywrap.config.settings import Proxy
from pywrap.errors import ProtocolError, ProxyClosed, Rejected, SocksError
from pywrap.socks import v5
from pywrap.socks.wire import Endpoint
from pywrap.tunnel.binding import Binding, advertised_address
from pywrap.tunnel.chain import handshake
from tests.support.play import play

PROXY = Proxy("socks5h", "proxy.example", 1080)
PROXY_4 = Proxy("socks4a", "proxy.example", 1080, b"me")
ANYBODY = Endpoint("0.0.0.0", 0)
SERVER = Endpoint("192.0.2.7", 21)
SOMEWHERE = Endpoint("0.0.0.0", 4711)

CAME = b"\x05\x00\x00\x01" + b"\xc0\x00\x02\x07" + b"\x00\x14"
CAME_6 = b"\x05\x00\x00\x04" + bytes.fromhex("20010db8000000000000000000000007") + b"\x00\x14"
CAME_4 = b"\x00\x5a" + b"\x00\x14" + b"\xc0\x00\x02\x07"


class Connection:
    """Yields ``pieces`` one after another, EAGAIN between them, EOF or an error at the end."""

    def __init__(self, *pieces, end=b""):
        self.data = bytearray()
        self.pieces = list(pieces)
        self.end = end

    def come(self):
        self.data += self.pieces.pop(0)

    def read(self, size):
        if not self.data and not self.pieces:
            if isinstance(self.end, OSError):
                raise self.end
            return self.end
        if not self.data:
            raise BlockingIOError
        found = bytes(self.data[:size])
        del self.data[:size]
        return found


class Opened:
    """What is looked at of a ``TunnelAttempt``: the first reply, the hops, and where the connection goes."""

    def __init__(self, said=SOMEWHERE, proxy="198.51.100.1", path=(PROXY,)):
        self.bound = said
        self.path = path
        self.sock = self
        self.proxy = proxy

    def getpeername(self):
        if isinstance(self.proxy, OSError):
            raise self.proxy
        return self.proxy, 1080

    def getsockname(self):
        return "192.168.0.2", 40000


def standing(expected, proxy=PROXY):
    """A binding that waits for its second reply."""
    binding = Binding(expected)
    binding.stands(Opened(path=(proxy,)))
    return binding


@pytest.mark.parametrize(
    ("proxy", "reply", "peer"),
    [
        (PROXY, CAME, Endpoint("192.0.2.7", 20)),
        (PROXY, CAME_6, Endpoint("2001:db8::7", 20)),
        (PROXY_4, CAME_4, Endpoint("192.0.2.7", 20)),
    ],
)
def test_the_second_reply_byte_by_byte_and_never_one_more(proxy, reply, peer):
    connection = Connection(*(bytes([byte]) for byte in reply), b"220 hello")
    binding = standing(ANYBODY, proxy)
    for _ in reply[1:]:
        connection.come()
        assert binding.peer(connection.read) is None
    connection.come()
    connection.come()
    assert binding.peer(connection.read) == peer
    assert connection.data == b"220 hello"


@pytest.mark.parametrize("cut", range(len(CAME)))
@pytest.mark.parametrize("end", [b"", ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")])
def test_a_proxy_that_hangs_up_before_it_is_said(cut, end):
    connection = Connection(CAME[:cut], end=end)
    connection.come()
    with pytest.raises(ProxyClosed, match=r"^proxy proxy.example:1080: .* \(listening, by BIND\)$") as caught:
        standing(ANYBODY).peer(connection.read)
    assert caught.value.errno == errno.ECONNRESET


def test_no_peer_came_in_the_proxys_time():
    connection = Connection(b"\x05\x06" + CAME[2:])
    connection.come()
    with pytest.raises(Rejected, match="proxy proxy.example:1080: no peer came in time") as caught:
        standing(ANYBODY).peer(connection.read)
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize(
    ("expected", "only"),
    [("0.0.0.0", ""), ("::", ""), ("192.0.2.7", "192.0.2.7"), ("ftp.example", "ftp.example")],
)
def test_which_peer_alone_may_come(expected, only):
    assert Binding(Endpoint(expected, 21)).only == only


def test_what_is_no_reply():
    connection = Connection(b"220 hello")
    connection.come()
    with pytest.raises(ProtocolError):
        standing(ANYBODY).peer(connection.read)


def test_a_reply_that_says_nothing_means_the_expected_peer():
    connection = Connection(b"\x05\x00\x00\x01" + bytes(6))
    connection.come()
    assert standing(SERVER).peer(connection.read) == SERVER


def test_the_last_hop_is_asked_to_bind_for_the_expected_peer():
    chain = (Proxy("socks5", "first.example", 1080), PROXY)
    accepted = b"\x05\x00" + b"\x05\x00\x00\x01" + bytes(6)
    bound, sent, _ = play(handshake(chain, SERVER, v5.BIND), accepted + accepted)
    assert b"".join(sent) == (
        b"\x05\x01\x00"
        + (b"\x05\x01\x00\x03" + b"\x0dproxy.example" + b"\x04\x38")
        + b"\x05\x01\x00"
        + (b"\x05\x02\x00\x01" + b"\xc0\x00\x02\x07" + b"\x00\x15")
    )
    assert bound == ANYBODY


def test_a_refusal_says_what_was_asked():
    with pytest.raises(Rejected) as caught:
        play(handshake((PROXY,), SERVER, v5.BIND), b"\x05\x00" + b"\x05\x07")
    assert caught.value.errno == errno.EOPNOTSUPP
    assert str(caught.value) == (
        "proxy proxy.example:1080: command not supported by the proxy (asked to BIND for 192.0.2.7:21)"
    )


@pytest.mark.parametrize(
    ("said", "proxy", "place"),
    [
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("203.0.113.9", "127.0.0.1", "203.0.113.9"),
        ("10.0.0.9", "10.0.0.1", "10.0.0.9"),
        ("10.0.0.9", "198.51.100.1", "198.51.100.1"),
        ("172.31.255.1", "198.51.100.1", "198.51.100.1"),
        ("172.32.0.1", "198.51.100.1", "172.32.0.1"),
        ("100.64.0.9", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("127.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "198.51.100.1", "198.51.100.1"),
        ("0.0.0.0", "::ffff:198.51.100.1", "198.51.100.1"),
        ("::", "2001:db8::1", "2001:db8::1"),
        ("fd00::9", "2001:db8::1", "2001:db8::1"),
        ("fe80::9", "fd00::1", "fd00::1"),
        ("2001:db8::9", "198.51.100.1", "2001:db8::9"),
        ("a.name.example", "198.51.100.1", "198.51.100.1"),
    ],
)
def test_the_proxys_own_address_where_the_reply_has_none_or_a_nearer_one(said, proxy, place):
    assert advertised_address(Opened(Endpoint(said, 4711), proxy)) == Endpoint(place, 4711)


def test_of_a_chain_it_is_the_last_proxys():
    literal, name = Proxy("socks5h", "203.0.113.2", 1080), Proxy("socks5h", "last.example", 1080)
    said = Endpoint("0.0.0.0", 4711)
    assert advertised_address(Opened(said, path=(PROXY, literal))) == Endpoint("203.0.113.2", 4711)
    assert advertised_address(Opened(said, path=(PROXY, name))) is None
    with pytest.raises(SocksError, match="proxy last.example:1080 does not say where") as caught:
        Binding(ANYBODY).stands(Opened(said, path=(PROXY, name)))
    assert caught.value.errno == errno.EADDRNOTAVAIL


@pytest.mark.parametrize("said", ["203.0.113.9", "0.0.0.0"])
def test_a_reply_without_a_port(said):
    opened = Opened(Endpoint(said, 0), "203.0.113.9")
    assert advertised_address(opened) == Endpoint("203.0.113.9", 40000)
    # Nobody could come to that one.
    with pytest.raises(SocksError, match="does not say where it listens") as caught:
        Binding(ANYBODY).stands(opened)
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_connection_that_is_gone_already():
    gone = OSError(errno.ENOTCONN, "not connected")
    assert advertised_address(Opened(Endpoint("203.0.113.9", 1), gone)) == Endpoint("203.0.113.9", 1)
    assert advertised_address(Opened(ANYBODY, gone)) is None
