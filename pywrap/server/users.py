"""The file of ``--users``: a line ``name:password`` for each user, with the password or its hash."""

from __future__ import annotations

import os
import stat

from pywrap.errors import ConfigError
from pywrap.server.passwords import PREFIX, hash_password, parse_hash

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pywrap.server.passwords import Hashed

_FORM = "each line is `name:password`, in UTF-8"

# The mode of a new file: only its owner can read it.
_MODE = 0o600


def read_users(path: str) -> dict[bytes, bytes | Hashed]:
    """Read the file; return by name the password or its hash. Both are the bytes that a client must send.

    A password may contain anything but a line's end, colons and spaces included; a name may contain blanks,
    but not begin or end with one. Empty lines and those that begin with ``#`` mean nothing.

    Raises:
        ConfigError: the file cannot be read, or a line is wrong; the text names file and line, never its
            content.
    """
    data = _read(path)

    users: dict[bytes, bytes | Hashed] = {}
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
        try:
            users[name] = parse_hash(password) if password.startswith(PREFIX) else password
        except ConfigError as err:
            raise ConfigError(f"{path}:{number}: {err}", err.hint) from None
    if not users:
        raise ConfigError(f"{path}: no user in it, so no client could log in", _FORM)
    return users


def _read(path: str) -> bytes:
    try:
        # open() of a FIFO would otherwise wait until a process opens it for writing, perhaps for ever.
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
    # RFC 1929 section 2: the length of each is one byte, from 1 to 255.
    for what, value in (("name", name), ("password", password)):
        if not 1 <= len(value) <= 255:
            return f"a {what} has 1 to 255 bytes, not {len(value)}"
    return ""


def add_user(path: str, name: bytes, password: bytes) -> bool:
    """Write a user into the file, which need not exist, or replace the password of one; True for a new one.

    The rest of the file is unchanged, and a server never reads half of it.

    Raises:
        ConfigError: the name or the password is not allowed, or the file cannot be read or written.
    """
    line = name + b":" + hash_password(password)
    problem = _problem(line, name, b":", password)
    if not problem and (b":" in name or b"\n" in name or name.startswith(b"#")):
        problem = "a name in this file has no colon, no line's end, and no # at its beginning"
    if problem:
        raise ConfigError(problem)
    try:
        lines = _read(path).removesuffix(b"\n").split(b"\n") if os.path.lexists(path) else []
    except OSError as err:
        raise ConfigError(f"cannot read the user file: {path}: {err.strerror}") from err
    same = [number for number, each in enumerate(lines) if each.partition(b":")[0] == name]
    if same:
        lines[same[0]] = line
    else:
        lines.append(line)
    _replace(path, b"\n".join(lines) + b"\n")
    return not same


def _replace(path: str, data: bytes) -> None:
    # Where the path is a link, the file that it leads to is replaced, not the link.
    path = os.path.realpath(path)
    new = f"{path}.{os.getpid()}.new"
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            with open(fd, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(fd)
                if os.path.exists(path):
                    old = os.stat(path)
                    os.fchmod(fd, stat.S_IMODE(old.st_mode))
                    os.fchown(fd, old.st_uid, old.st_gid)
            os.replace(new, path)
        except BaseException:
            os.unlink(new)
            raise
    except OSError as err:
        raise ConfigError(f"cannot write the user file: {path}: {err.strerror}") from err
