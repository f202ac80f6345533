"""Removes passwords from the command line of this process, which every user of the machine can read (ps(1)).

The exec of the program replaces the command line, but ``--check`` runs for seconds, and the process of the
bundled server keeps it.
"""

from __future__ import annotations

import os


def hide_passwords(urls: list[str]) -> None:
    """Overwrite the passwords of ``urls`` with stars, in the memory where the kernel reads the command line.

    Without /proc the passwords stay.
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
                    # The colon before the password and the @ after it stay.
                    memory.seek(start + at + 1)
                    memory.write(b"*" * (len(password) - 2))
                    at = arguments.find(password, at + 1)
    except (OSError, ValueError):
        return


def _password(url: str) -> bytes:
    """The password of ``url`` with the colon before it and the @ after it; b"" for none."""
    login, at, _ = url.rpartition("@")
    _, colon, password = login.partition("://")[2].partition(":")
    return os.fsencode(f":{password}@") if at and colon else b""
