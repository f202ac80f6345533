"""Archives: what a run writes, and what becomes of modules that are other than when it was written."""

from __future__ import annotations

import os
import shutil
import sys

import pytest

from pywrap import archive
from pywrap.launch import archives
from tests.support.run import ROOT, run

# What the program has loaded, from where, and whether an archive had it as it is.
SHOWS = (
    "import socket, json, pywrap.archive as a\n"
    "from pywrap.intercept import socket_inodes\n"
    "print(json.dumps([a.missing, a.FOLDER, a.loaded]))"
)


@pytest.fixture
def package(tmp_path):
    """A copy of the package, which nobody has run."""
    shutil.copytree(ROOT / "pywrap", tmp_path / "pywrap", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "pywrap"


def start(package, code=SHOWS, **options):
    words = sys.executable, "-m", "pywrap", "-x", "socks5h://127.0.0.1:1", "--", sys.executable, "-c", code
    return run(*words, env={"PYTHONPATH": str(package.parent)}, cwd=package.parent, **options)


def files(package):
    return {path.suffix[1:] for path in package.glob("__pycache__/archive.*")} - {"pyc"}


def test_the_first_run_writes_an_archive_for_each_stage(package):
    assert files(package) == set()
    start(package)
    assert files(package) == set(archives.STAGES)
    missing, folder, loaded = start(package).json
    assert missing == []
    assert folder == str(package)
    assert {"pywrap.launch.bootstrap", "pywrap.intercept.registry"} <= set(loaded)


def test_a_module_that_has_changed_is_loaded_from_its_file(package):
    start(package)
    for name in ("marker", "launch/bootstrap"):
        file = package / f"{name}.py"
        file.write_text(file.read_text() + "\nimport sys\nsys.changed = getattr(sys, 'changed', 0) + 1\n")
    assert start(package, "import socket, sys; print(sys.changed)").json == 2


def test_a_module_of_the_launcher_that_has_changed_writes_them_all_anew(package):
    start(package)
    before = {path: path.stat().st_mtime_ns for path in package.glob("__pycache__/archive.*.*")}
    file = package / "launch" / "patch_or_confine.py"
    file.write_text(file.read_text() + "\n")
    start(package)
    after = {path: path.stat().st_mtime_ns for path in package.glob("__pycache__/archive.*.*")}
    assert all(after[path] > before[path] for path in before if path.suffix != ".pyc")


@pytest.mark.parametrize("damage", ["truncated", "empty", "of another folder", "of another bytecode"])
def test_an_archive_that_is_not_ours_is_not_used(damage, package):
    start(package)
    path = next(package.glob("__pycache__/archive.*.start"))
    data = path.read_bytes()
    place = str(package).encode()
    damaged = {
        "truncated": data[: len(data) // 2],
        "empty": b"",
        "of another folder": data.replace(place, place[:-1] + b"X", 1),
        "of another bytecode": data.replace(archive.MAGIC_NUMBER, b"\0\0\r\n", 1),
    }[damage]
    assert damaged != data
    path.write_bytes(damaged)
    missing, folder, _ = start(package).json
    assert "start" in missing
    assert folder == str(package)


def test_without_bytecode_there_are_none(package):
    code = "import os; print(os.environ['PYTHONDONTWRITEBYTECODE'])"
    env = {"PYTHONPATH": str(package.parent), "PYTHONDONTWRITEBYTECODE": "1"}
    words = sys.executable, "-m", "pywrap", "-x", "socks5h://127.0.0.1:1", "--", sys.executable, "-c", code
    assert run(*words, env=env, cwd=package.parent).json == 1
    assert files(package) == set()


def test_a_folder_that_cannot_be_written_to_is_no_error(package):
    # Root may write everywhere: a file is in the place of the folder.
    (package / "__pycache__").write_text("")
    missing, _, _ = start(package).json
    assert "start" in missing


def test_every_module_of_a_stage_exists():
    for stage, names in archives.STAGES.items():
        for name in names:
            path = os.path.join(archive.FOLDER, name.replace(".", "/"))
            assert os.path.exists(f"{path}.py") or os.path.exists(f"{path}/__init__.py"), (stage, name)
