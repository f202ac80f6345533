"""How the processes of a run find the confinement of their children."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from pywrap.config import settings_env
from pywrap.confine import notes
from pywrap.intercept import child_policy
from pywrap.intercept.patches import spawn
from pywrap.programs import joining
from pywrap.programs.joining import Joining, Note

HERE = os.readlink("/proc/self/ns/net")
NOTE = Note(("/usr/bin/nsenter", "--net=/proc/1/fd/3", "--wdns={folder}", "--"), HERE, "/proc/self/ns/net")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    path = tmp_path / "notes"
    for module in (notes, joining):
        monkeypatch.setattr(module, "FOLDERS", (str(path),))
    return path


@pytest.mark.parametrize("note", [NOTE, Note((), HERE, "/proc/self/ns/net"), Note((), cause="c", remedy="r")])
def test_a_note_is_read_as_it_was_written(note):
    notes.write("run", note, os.getpid())
    assert joining.read_note("run") == note
    assert note.is_valid
    assert joining.read_note("other") is None


def test_a_note_of_a_broker_that_is_gone_is_not_believed():
    assert not Note((), HERE, "/proc/self/ns/no-such").is_valid
    assert not Note((), "net:[1]", "/proc/self/ns/net").is_valid


def test_notes_of_processes_that_have_ended_are_removed(folder):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale = notes.write("stale", NOTE, ended.pid)
    kept = notes.write("kept", NOTE, os.getpid())
    assert not os.path.exists(stale) and os.path.exists(kept)
    notes.remove(kept)
    notes.remove(kept)
    assert os.listdir(folder) == []


def test_a_note_that_others_could_have_written_is_not_read():
    os.chmod(notes.write("run", NOTE, os.getpid()), 0o644)
    assert joining.read_note("run") is None


def test_a_folder_that_others_can_change_is_not_used(folder):
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="can be changed by others"):
        notes.write("run", NOTE, os.getpid())


@pytest.mark.parametrize(
    "told",
    [
        Joining("a1"),
        Joining("a1", 7, True, True, 0, 1, (2, 3)),
        Joining("a1", 7, groups=()),
    ],
)
def test_what_the_script_is_told_is_one_word(told):
    word = told.encode()
    assert joining.decode(word) == told
    assert " " not in word


def test_a_program_is_called_as_it_was():
    def entering(file, *argv, path="/usr/bin:/bin"):
        words = joining.entering(NOTE, "/a b", file, argv, path)
        return None if words is None else words[2:]

    assert entering("/bin/sh", "/bin/sh", "-c", "x") == ["--wdns=/a b", "--", "/bin/sh", "-c", "x"]
    assert entering("/bin/sh", "sh") == ["--wdns=/a b", "--", "sh"]
    # nsenter(1) has no way to say another name than that of the file.
    assert entering("/bin/sh", "-sh") is None
    assert entering("/bin/sh", "sh", path="") is None
    assert entering("/bin/sh", "true") is None
    assert entering("/bin/sh") is None


def test_the_copies_of_the_variable_are_equal():
    assert child_policy.CONFINED == spawn._CONFINED == settings_env.CONFINED
