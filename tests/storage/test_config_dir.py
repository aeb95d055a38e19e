"""The folders for the user's own files."""

from pathlib import Path

import pytest

from storage import config_dir


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("value", [None, "", "relative/folder"])
def test_the_folders_lie_at_home_unless_an_absolute_one_is_named(tmp_path, monkeypatch, value):
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert config_dir.config_folder() == tmp_path / ".config" / "refold"
    assert config_dir.cache_folder() == tmp_path / ".cache" / "refold"


def test_the_documented_variables_name_other_folders(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert config_dir.config_folder() == tmp_path / "a" / "refold"
    assert config_dir.cache_folder() == tmp_path / "b" / "refold"
