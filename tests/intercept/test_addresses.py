"""What connect() and sendto() are told, read as C would read it, without a resolver."""

from __future__ import annotations

import socket

import pytest

from pywrap.intercept.addresses import Target, host_text, target, with_host


@pytest.fixture
def four():
    with socket.socket() as sock:
        yield sock


@pytest.fixture
def six():
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        yield sock


def test_a_name_and_a_literal_are_read_as_they_are(four, six):
    assert target(four, ("example.org", 443)) == Target("example.org", 443, ipv6=False, datagram=False)
    assert target(six, ("2001:db8::1", 9, 0, 0)) == Target("2001:db8::1", 9, ipv6=True, datagram=True)


@pytest.mark.parametrize("host", [b"example.org", bytearray(b"example.org")])
def test_bytes_are_a_name_too(four, host):
    assert target(four, (host, 80)) == Target("example.org", 80, ipv6=False, datagram=False)


def test_a_port_is_whatever_is_a_number(four):
    class Port:
        def __index__(self):
            return 443

    assert target(four, ("example.org", Port())).port == 443


def test_a_socket_of_another_family_has_no_target():
    with socket.socket(socket.AF_UNIX) as sock:
        assert target(sock, ("example.org", 80)) is None


@pytest.mark.parametrize(
    "address",
    [
        "example.org",
        ["example.org", 80],
        ("example.org",),
        ("example.org", "80"),
        ("example.org", 80.0),
        ("example.org", -1),
        ("example.org", 65536),
        (None, 80),
        (7, 80),
        ("a\0b", 80),
        # The C code's own error for what IDNA does not take.
        ("ü" * 64 + ".example", 80),
    ],
)
def test_what_is_malformed_is_left_to_the_function_it_was_meant_for(four, address):
    assert target(four, address) is None


@pytest.mark.parametrize(
    "host", ["a..b", "x" * 64 + ".example", ".".join(["a" * 60] * 5), b"a..b", b"caf\xe9.example"]
)
def test_what_no_host_can_be_called_is_not_known(four, host):
    with pytest.raises(socket.gaierror) as caught:
        target(four, (host, 80))
    assert caught.value.errno == socket.EAI_NONAME


@pytest.mark.parametrize(
    ("host", "text"),
    [
        ("bücher.example", "xn--bcher-kva.example"),
        ("example.org.", "example.org."),
        ("fe80::1%lo", "fe80::1%lo"),
        (b"example.org", "example.org"),
        (None, None),
        (7, None),
    ],
)
def test_a_host_in_ascii(host, text):
    assert host_text(host) == text


def test_a_literal_takes_the_place_of_the_host_alone():
    address = ("example.org", 80, 0, 3)
    assert with_host(address, "2001:db8::1") == ("2001:db8::1", 80, 0, 3)
    assert with_host(address, "2001:db8::1", 8080) == ("2001:db8::1", 8080, 0, 3)
    assert with_host(address, "") is address
