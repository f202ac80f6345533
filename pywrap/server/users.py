"""The file of ``--users``: a line ``name:password`` for each."""

from __future__ import annotations

import os
import stat

from pywrap.errors import ConfigError

_FORM = "each line is `name:password`, in UTF-8"


def read_users(path: str) -> dict[bytes, bytes]:
    """Read the file; the bytes are those that a client must send.

    A password may contain anything but a line's end, colons and spaces included; a name may contain blanks,
    but not begin or end with one. Empty lines and those that begin with ``#`` mean nothing.

    Raises:
        ConfigError: naming the file and the line, never what is in it.
    """
    data = _read(path)

    users: dict[bytes, bytes] = {}
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        line = line.removesuffix(b"\r")
        if not line.strip() or line.startswith(b"#"):
            continue
        name, colon, password = line.partition(b":")
        problem = _problem(line, name, colon, password)
        if not problem and name in users:
            problem = "this user has a line above already"
        if problem:
            raise ConfigError(f"{path}:{number}: {problem}", _FORM)
        users[name] = password
    if not users:
        raise ConfigError(f"{path}: no user in it, so no client could log in", _FORM)
    return users


def _read(path: str) -> bytes:
    try:
        # A pipe would be waited for until something writes into it, perhaps for ever.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"cannot read the user file: {path}: not a regular file")
            return file.read()
    except OSError as err:
        raise ConfigError(f"cannot read the user file: {path}: {err.strerror}") from err


def _problem(line: bytes, name: bytes, colon: bytes, password: bytes) -> str:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return "not UTF-8"
    if not colon:
        return "no colon between name and password"
    if name.strip() != name:
        return "blanks around the name"
    # RFC 1929: one byte says the length of each, and 0 is none.
    for what, value in (("name", name), ("password", password)):
        if not 1 <= len(value) <= 255:
            return f"a {what} has 1 to 255 bytes, not {len(value)}"
    return ""
