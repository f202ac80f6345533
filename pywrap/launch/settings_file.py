"""Reads the file with the settings of a run that have a password (``pywrap.launch.secrets`` writes it)."""

from __future__ import annotations

import os

# The variable has ``file=PATH`` in the place of the settings then.
PREFIX = "file="


def text_of(value: str) -> str:
    """The text of the settings, which is ``value`` or in the file that it names.

    Raises:
        RuntimeError: the file cannot be read, or other users could have written it.
    """
    if not value.startswith(PREFIX):
        return value
    path = value[len(PREFIX) :]
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            # The folder may be below /tmp, where any user could have made it.
            if status.st_uid not in (os.geteuid(), 0) and os.geteuid() != 0 or status.st_mode & 0o077:
                raise PermissionError(1, "it is not this user's alone")
            return os.read(fd, status.st_size).decode("ascii")
        finally:
            os.close(fd)
    except OSError as err:
        raise RuntimeError(f"cannot read the settings in {path}: {err.strerror}") from None
