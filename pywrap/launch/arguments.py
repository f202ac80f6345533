"""Takes passwords out of this process's arguments, which every user of the machine can read (``ps``).

The program's own arguments replace them soon, but ``--check`` takes its time, and the bundled server keeps
them.
"""

from __future__ import annotations

import os


def hide_passwords(urls: list[str]) -> None:
    """Write stars over the passwords of ``urls``, where the kernel keeps the arguments.

    Where that cannot be (no /proc), they stay.
    """
    passwords = [password for password in map(_password, urls) if password]
    if not passwords:
        return
    try:
        with open("/proc/self/stat", "rb") as file:
            # proc_pid_stat(5): fields 48 and 49, behind a name in parentheses.
            start, end = map(int, file.read().rpartition(b")")[2].split()[45:47])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            arguments = memory.read(end - start)
            for password in passwords:
                at = arguments.find(password)
                while at >= 0:
                    # The colon before it and the @ behind it stay.
                    memory.seek(start + at + 1)
                    memory.write(b"*" * (len(password) - 2))
                    at = arguments.find(password, at + 1)
    except (OSError, ValueError):
        return


def _password(url: str) -> bytes:
    """The password of ``url`` with the colon before it and the @ behind it; b"" for none."""
    login, at, _ = url.rpartition("@")
    _, colon, password = login.partition("://")[2].partition(":")
    return os.fsencode(f":{password}@") if at and colon else b""
