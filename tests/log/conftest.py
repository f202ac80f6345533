"""A proxy that wants a password, which no log may have, and the log."""

from __future__ import annotations

import pytest

from tests.support.servers import reference_server


@pytest.fixture
def proxy():
    with reference_server(users={b"alice": b"s3cret"}) as running:
        yield running


@pytest.fixture
def file(tmp_path):
    return tmp_path / "run.jsonl"
