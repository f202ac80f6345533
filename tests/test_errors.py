"""Each failure has the errno that a program can act on."""

from __future__ import annotations

import ast
import errno
from pathlib import Path

import pytest

import pywrap
from pywrap.errors import (
    UNHEARD,
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

PACKAGE = Path(pywrap.__file__).parent


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


@pytest.mark.parametrize("name", ["errno", "stage", "failure", "code", "args", "anything"])
def test_an_error_is_not_changed_after_it_was_made(name):
    error = Rejected("no", errno.EACCES, 2)
    with pytest.raises(AttributeError, match=rf"^Rejected\.{name} cannot be changed"):
        setattr(error, name, 1)


def test_code_that_knows_more_of_an_error_raises_a_copy():
    cause = OSError("why")
    try:
        try:
            raise Rejected("no", errno.EACCES, 2) from cause
        except Rejected as err:
            error = err
            raise err.copy(f"proxy: {err}", stage=UNHEARD) from err.__cause__
    except Rejected as err:
        copy = err
    assert type(copy) is Rejected and copy.__cause__ is cause
    assert (str(copy), copy.errno, copy.code, copy.stage) == ("proxy: no", errno.EACCES, 2, UNHEARD)
    assert (str(error), error.errno, error.code, error.stage) == ("no", errno.EACCES, 2, "")


def test_no_attribute_of_an_exception_is_assigned_in_the_package():
    """In an ``except`` block, to the exception that it has caught; ``__init__`` sets those of its own."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        for handler in ast.walk(ast.parse(file.read_text())):
            if isinstance(handler, ast.ExceptHandler) and handler.name is not None:
                found += [
                    f"{file}:{node.lineno}"
                    for node in ast.walk(handler)
                    if isinstance(node, ast.Attribute)
                    and isinstance(node.ctx, ast.Store | ast.Del)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == handler.name
                ]
    assert found == []


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
