"""What connections and children leave behind: nothing, in descriptors, threads and memory."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.support.run import run

FLAT = Path(__file__).parent.parent / "scripts" / "flat"


def test_many_connections_and_children_leave_nothing_behind(interpreter, cannot_confine):
    if cannot_confine:
        pytest.skip(cannot_confine)
    ran = run(sys.executable, FLAT, "--quick", "--python", interpreter, timeout=240)
    assert ran.out.splitlines()[-1] == "flat", ran
    # It has looked at all four, three times.
    rows = re.findall(r"^ +\d(?: +\d+ +\d+ +\d+){4}$", ran.out, re.M)
    assert len(rows) == 3, ran
