"""Every child is tunnelled, confined, refused or warned about, in whichever way it is started."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support import every_way
from tests.support.confined import need
from tests.support.run import ROOT, run

# Those of `tools` install much: scripts/children runs them too.
RUNS = ("command", "refuse", "warn", "c", "install")
# Of the longest run, so that it has both processors of a small machine.
PARTS = 2


@pytest.fixture(scope="module")
def asked(network, tmp_path_factory):
    """What the server writes down."""
    need("curl")
    path = tmp_path_factory.mktemp("asked") / "addresses"
    with every_way.answering(network, path):
        yield path


@pytest.fixture
def folder():
    """One that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="pysocksify-ways-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_table_has_enough_ways():
    ways = every_way.ways()
    assert len({way.name for way in ways}) == len(ways) >= 80
    assert {way.must for way in ways} == {"tunnelled", "confined", "refused", "warned"}


def test_no_child_is_silent(asked, network, sniffer, folder):
    sniffer.leaks()
    portions = [(each, (0, 1)) for each in RUNS[1:]] + [("command", (part, PARTS)) for part in range(PARTS)]
    started = []
    for each, part in portions:
        place = folder / f"{each}-{part[0]}"
        place.mkdir()
        started.append(every_way.start(network, each, place, part=part))
    found = {}
    for process in started:
        found |= every_way.outcomes(process)
    leaks, text = sniffer.leaks(), asked.read_text()
    ways = [way for way in every_way.ways() if way.run in RUNS]
    assert sorted(found) == sorted(way.name for way in ways)
    wrong = {
        way.name: each for way in ways if (each := every_way.wrong(way, found[way.name][0], leaks, text))
    }
    assert wrong == {}, "\n".join(f"---- {name}: {found[name][1]}" for name in wrong)
    known = {way.address for way in ways}
    assert [leak for leak in leaks if leak.split()[3] not in known] == []


def test_the_table_of_the_documents_is_this_one():
    text = (ROOT / "docs" / "children.md").read_text()
    rows = re.findall(r"^\| (.+) \| (.+) \|$", text, re.M)
    written = {(name.replace("\\|", "|"), must) for name, must in rows if must != "what becomes of it"}
    assert written == {(way.name, way.must) for way in every_way.ways()}


def test_the_script_says_what_it_is_for():
    assert "Start children in every way" in run(sys.executable, ROOT / "scripts" / "children", "--help").out
