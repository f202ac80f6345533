"""What docs/libraries.md says, which scripts/libraries has written: that takes minutes, and is no test."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

from pywrap.intercept import import_hook
from tests.support.run import run

ROOT = Path(__file__).parent.parent
ROW = re.compile(r"^\| ([^|]+) \| ([^|]*) \| ([^|]+) \| ([^|]*) \|$", re.M)


def rows():
    text = (ROOT / "docs" / "libraries.md").read_text()
    return [found for found in ROW.findall(text) if found[0] not in ("library", "---")]


def programs():
    spec = importlib.util.spec_from_file_location("programs", ROOT / "scripts" / "library-programs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.PROGRAMS


def test_the_table_has_every_library_that_there_is_a_program_for():
    assert [row[0] for row in rows()] == list(programs())
    assert sum(bool(version) for _, version, *_ in rows()) >= 40


def test_no_library_leaks_without_a_warning_nor_out_of_a_confinement():
    assert [row for row in rows() if "LEAKED" in "".join(row)] == []


def test_each_library_with_a_seam_is_tunnelled():
    # The names of distributions are not those of modules.
    named = {row[0].removesuffix("-binary"): row[2] for row in rows()}
    # cffi has no sockets: a program that looks up functions of C by it is warned.
    libraries = {*import_hook.SEAMS.values()} - {"cffi"}
    assert {named[name] for name in libraries} <= {"tunnelled", "answered here"}


def test_the_script_says_what_it_is_for():
    assert "network libraries" in run(sys.executable, ROOT / "scripts" / "libraries", "--help").out
