"""Failures of look-ups as the C library reports them, and names that have no addresses."""

import socket

import pytest

from pywrap.tunnel.lookups import LookupFailed, has_addresses, is_host_name


@pytest.mark.parametrize(
    ("number", "is_final", "herrno"),
    [
        (socket.EAI_NONAME, True, 1),
        (socket.EAI_NODATA, True, 1),
        (socket.EAI_AGAIN, False, 2),
        (socket.EAI_FAIL, False, 3),
        (socket.EAI_MEMORY, False, 1),
    ],
)
def test_a_failure_has_the_errors_of_both_families_of_functions(number, is_final, herrno):
    failure = LookupFailed("the server is tired", number)
    assert failure.is_final is is_final
    assert failure.as_gaierror().errno == number
    assert ("the server is tired" in str(failure.as_gaierror())) is not is_final
    assert failure.as_herror().args[0] == herrno


def test_the_words_are_those_of_the_c_library():
    with pytest.raises(socket.gaierror) as caught:
        socket.getaddrinfo("no name", 80, flags=socket.AI_NUMERICHOST)
    assert str(LookupFailed("", caught.value.errno).as_gaierror()) == str(caught.value)


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("example.org", True),
        ("onion", True),
        ("a.onion.example", True),
        ("a.onion", False),
        ("A.ONION.", False),
    ],
)
def test_onions_have_no_addresses(name, has):
    assert has_addresses(name) is has


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("a-1.example", True),
        ("_srv.example", True),
        ("", True),
        ("a b", False),
        ("b\xfccher", False),
        ("a\0", False),
    ],
)
def test_host_names_have_few_characters(name, is_one):
    assert is_host_name(name) is is_one
