"""The user file, good lines and bad ones."""

import os

import pytest

from pywrap.errors import ConfigError
from pywrap.server.users import read_users


@pytest.fixture
def users(tmp_path):
    def read(data):
        path = tmp_path / "users.txt"
        path.write_bytes(data)
        return read_users(str(path))

    return read


@pytest.mark.parametrize(
    "data, expected",
    [
        (b"alice:secret", {b"alice": b"secret"}),
        (b"alice:secret\nbob:hidden\n", {b"alice": b"secret", b"bob": b"hidden"}),
        (b"# people\n\n  \nalice:secret\n#bob:hidden\n", {b"alice": b"secret"}),
        (b"alice:a:b # c \n", {b"alice": b"a:b # c "}),
        (b"alice:secret\r\nbob:hidden\r\n", {b"alice": b"secret", b"bob": b"hidden"}),
        (b"\xef\xbb\xbfalice:secret\n", {b"alice": b"secret"}),
        ("björn:pässwort\n".encode(), {"björn".encode(): "pässwort".encode()}),
        (b"a" * 255 + b":" + b"p" * 255, {b"a" * 255: b"p" * 255}),
    ],
)
def test_good_files(users, data, expected):
    assert users(data) == expected


@pytest.mark.parametrize(
    "data, message",
    [
        (b" alice:secret\n", "users.txt:1: blanks around the name"),
        (b"alice :secret\n", "users.txt:1: blanks around the name"),
        (b"\talice:secret\n", "users.txt:1: blanks around the name"),
        (b"", "users.txt: no user in it, so no client could log in"),
        (b"# alice:secret\n\n", "users.txt: no user in it, so no client could log in"),
        (b"alice:secret\nbob\n", "users.txt:2: no colon between name and password"),
        (b":secret\n", "users.txt:1: a name has 1 to 255 bytes, not 0"),
        (b"alice:\n", "users.txt:1: a password has 1 to 255 bytes, not 0"),
        (b"#\n" + b"a" * 256 + b":secret\n", "users.txt:2: a name has 1 to 255 bytes, not 256"),
        (b"alice:" + b"p" * 256, "users.txt:1: a password has 1 to 255 bytes, not 256"),
        (b"bj\xf6rn:secret\n", "users.txt:1: not UTF-8"),
        (b"alice:secret\nalice:other\n", "users.txt:2: this user has a line above already"),
    ],
)
def test_a_bad_line_is_named_and_not_shown(users, data, message):
    with pytest.raises(ConfigError) as caught:
        users(data)
    assert str(caught.value).endswith(message)
    assert caught.value.hint
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_file_that_is_none(tmp_path, make):
    make(tmp_path / "users")
    with pytest.raises(
        ConfigError, match=r"^cannot read the user file: .*/users: (not a regular file|Is a directory)$"
    ):
        read_users(str(tmp_path / "users"))


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(ConfigError, match=r"^cannot read the user file: .*/none: No such file or directory$"):
        read_users(str(tmp_path / "none"))
