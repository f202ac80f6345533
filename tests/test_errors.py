"""Each failure has the errno that a program can act on."""

from __future__ import annotations

import errno

import pytest

from pywrap.errors import (
    AuthenticationFailed,
    ConfigError,
    ProtocolError,
    ProxyClosed,
    ProxyTimeout,
    Rejected,
    SocksError,
    Unencodable,
    counted,
    to_oserror,
)


@pytest.mark.parametrize(
    ("failure", "number", "seen"),
    [
        (SocksError("it failed"), errno.ECONNREFUSED, ConnectionRefusedError),
        (AuthenticationFailed("it failed"), errno.EACCES, PermissionError),
        (ProtocolError("it failed"), errno.EPROTO, OSError),
        (ProxyClosed("it failed"), errno.ECONNRESET, ConnectionResetError),
        (ProxyTimeout("it failed"), errno.ETIMEDOUT, TimeoutError),
        (Unencodable("it failed"), errno.EAFNOSUPPORT, OSError),
        (Rejected("it failed", errno.ENETUNREACH, 3), errno.ENETUNREACH, OSError),
    ],
)
def test_python_picks_the_class_from_the_errno(failure, number, seen):
    err = to_oserror(failure)
    assert type(err) is seen
    assert err.errno == number
    assert err.strerror == "it failed"


def test_a_given_errno_is_of_that_error_alone():
    assert SocksError("", errno.ENETDOWN).errno == errno.ENETDOWN
    assert SocksError("").errno == errno.ECONNREFUSED


def test_a_rejection_remembers_the_reply_code():
    assert Rejected("no", errno.EACCES, 2).code == 2


def test_a_config_error_may_carry_a_hint():
    assert ConfigError("wrong").hint == ""
    assert ConfigError("wrong", "do this").hint == "do this"


def test_one_is_singular():
    assert [counted(number, "byte") for number in (0, 1, 2)] == ["0 bytes", "1 byte", "2 bytes"]


def test_wrong_settings_are_not_a_failed_conversation():
    assert not issubclass(ConfigError, SocksError)


def test_what_is_quoted_in_a_configuration_error_shows_no_password():
    for quoted, shown in (
        ("al:secret@127.0.0.1", "al:***@127.0.0.1"),
        ("* socks5://al:secret@h", "* socks5:***@h"),
        ("10.0.0.0/8", "10.0.0.0/8"),
    ):
        assert str(ConfigError(f"wrong: `{quoted}`, or `{quoted}`")) == f"wrong: `{shown}`, or `{shown}`"
