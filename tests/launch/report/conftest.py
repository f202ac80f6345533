from __future__ import annotations

import os

import pytest

from tests.support.browser import browser, find


@pytest.fixture(scope="session")
def chromium():
    program = find()
    if program is None:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail("no Chromium: scripts/debian installs it", pytrace=False)
        pytest.skip("no Chromium")
    with browser(program) as page:
        yield page
