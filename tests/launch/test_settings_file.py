"""The file of the settings, which is believed only where no other user can have written or read it."""

import os

import pytest

from pywrap.launch.settings_file import PREFIX, text_of

MESSAGE = "^cannot read the settings in .*: "


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "settings"
    path.write_text("text of the settings")
    path.chmod(0o600)
    return path


def test_settings_without_a_file_are_the_text():
    assert text_of("socks5h://proxy:1080") == "socks5h://proxy:1080"


def test_a_file_of_the_user_alone_is_read(file):
    assert text_of(f"{PREFIX}{file}") == "text of the settings"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o602])
def test_a_file_that_others_may_read_or_write_is_refused(file, mode):
    file.chmod(mode)
    with pytest.raises(RuntimeError, match=MESSAGE + "it is not this user's alone"):
        text_of(f"{PREFIX}{file}")


def test_a_link_is_not_followed(file, tmp_path):
    (tmp_path / "link").symlink_to(file)
    with pytest.raises(RuntimeError, match=MESSAGE):
        text_of(f"{PREFIX}{tmp_path / 'link'}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused_to_an_ordinary_one(file, monkeypatch):
    os.chown(file, 4321, -1)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    with pytest.raises(RuntimeError, match=MESSAGE + "it is not this user's alone"):
        text_of(f"{PREFIX}{file}")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RuntimeError, match=f"^cannot read the settings in {tmp_path}/none: No such file"):
        text_of(f"{PREFIX}{tmp_path}/none")
