"""Configuration files as Debian's packages ship them. Theirs is the GPL, so there is no copy here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest


def shipped(package: str, path: str) -> bytes:
    """The contents of ``path``; skips where ``package`` is not installed, or its file was edited."""
    file = Path(path)
    if shutil.which("dpkg-query") is None or not file.exists():
        pytest.skip(f"{package} is not installed")
    known = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Conffiles}", package], capture_output=True, text=True, check=True
    )
    data = file.read_bytes()
    if f"{path} {hashlib.md5(data).hexdigest()}" not in known.stdout:
        pytest.skip(f"{path} is not as {package} ships it")
    return data
