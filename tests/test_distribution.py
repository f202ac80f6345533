"""The wheel: what is in it, and what a fresh venv has after it was installed."""

from __future__ import annotations

import email
import os
import shutil
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from pywrap import __version__
from tests.support.run import run

ROOT = Path(__file__).parent.parent
SHARED = {str(path.relative_to(ROOT)) for path in (ROOT / "share").rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", directory, ROOT)
    (path,) = directory.iterdir()
    return path


@pytest.fixture(scope="module")
def prefix(wheel, tmp_path_factory):
    """A venv with nothing but the wheel, without its dependencies, which only --check needs."""
    directory = tmp_path_factory.mktemp("venv")
    venv.create(directory)
    pip = (sys.executable, "-m", "pip", "--python", directory / "bin" / "python", "install")
    run(*pip, "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", wheel)
    return directory


@pytest.mark.parametrize("command", ["pysocksify", "pysocksd"])
def test_the_commands_are_installed(command, prefix):
    assert run(prefix / "bin" / command, "--version").out == f"{command} {__version__}\n"


def test_a_program_runs_without_the_dependencies(prefix):
    words = "-x", "embedded", prefix / "bin" / "python", "-c", "print('ran')"
    assert run(prefix / "bin" / "pysocksify", *words).out == "ran\n"


def test_manual_pages_and_completions_are_installed(prefix):
    assert len(SHARED) == 9
    assert [name for name in sorted(SHARED) if not (prefix / name).is_file()] == []


@pytest.mark.parametrize("page", ["pysocksify", "pysocksd", "pysocksify.conf"])
def test_man_finds_the_page(page, prefix):
    if shutil.which("man") is None and os.environ.get("CI", "").lower() not in ("true", "1"):
        pytest.skip("man is not installed: scripts/debian installs it")
    found = run("man", "-w", page, env={"MANPATH": str(prefix / "share" / "man")}).out
    assert found.startswith(str(prefix / "share" / "man"))


def test_the_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
        assert "pywrap/py.typed" in archive.namelist()
        assert "pywrap/launch/startup/sitecustomize.py" in archive.namelist()
    needed = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert sorted(each.partition(">")[0].lower() for each in needed) == ["psutil", "pysocks", "python-socks"]
    for minor in range(11, 16):
        assert f"Programming Language :: Python :: 3.{minor}" in metadata.get_all("Classifier", [])
    assert len(metadata.get_all("Project-URL", [])) == 4
