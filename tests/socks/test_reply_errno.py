"""Each code of a refusal has the errno that a direct connection would have had."""

from __future__ import annotations

import errno

import pytest

from pywrap.socks import v4, v5
from pywrap.socks.reply_errno import SOCKS4, SOCKS5, refusal

# RFC 1928 section 6.
EXPECTED = {
    v5.GENERAL_FAILURE: errno.ECONNREFUSED,
    v5.NOT_ALLOWED: errno.EACCES,
    v5.NETWORK_UNREACHABLE: errno.ENETUNREACH,
    v5.HOST_UNREACHABLE: errno.EHOSTUNREACH,
    v5.CONNECTION_REFUSED: errno.ECONNREFUSED,
    v5.TTL_EXPIRED: errno.ETIMEDOUT,
    v5.COMMAND_NOT_SUPPORTED: errno.EOPNOTSUPP,
    v5.ADDRESS_TYPE_NOT_SUPPORTED: errno.EAFNOSUPPORT,
}


@pytest.mark.parametrize("code", EXPECTED)
def test_a_code_of_socks5_has_its_errno(code):
    raised = refusal(SOCKS5, code)
    assert (raised.errno, raised.code) == (EXPECTED[code], code)


def test_every_code_of_tor_is_told_apart():
    assert {str(refusal(SOCKS5, code)) for code in range(0xF0, 0xF8)} == {
        SOCKS5[code][0] for code in range(0xF0, 0xF8)
    }


def test_socks4_tells_identd_from_a_destination_that_fails():
    numbers = [refusal(SOCKS4, code).errno for code in (v4.REJECTED, v4.NO_IDENT, v4.IDENT_MISMATCH)]
    assert numbers == [errno.ECONNREFUSED, errno.EACCES, errno.EACCES]


@pytest.mark.parametrize("table", [SOCKS4, SOCKS5])
def test_a_code_that_is_unassigned_is_named_and_refused(table):
    raised = refusal(table, 0x63)
    assert (str(raised), raised.errno) == ("unassigned reply code 99", errno.ECONNREFUSED)
