"""Noticing saves of a projection's files."""

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tui.folding.file_watcher import FileWatcher


class Saves:
    def __init__(self) -> None:
        self._counted = threading.Semaphore(0)
        self.watcher = FileWatcher(self._counted.release)

    def wait_for_one(self) -> bool:
        return self._counted.acquire(timeout=20)

    def watch(self, *files: Path) -> None:
        self.watcher.watch_files(
            {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
        )


@pytest.fixture
def saves() -> Iterator[Saves]:
    found = Saves()
    yield found
    found.watcher.close()


@pytest.fixture
def code(tmp_path: Path) -> Path:
    file = tmp_path / "p.py"
    file.write_text("a = 1\n")
    return file


def test_a_save_is_noticed_each_time(saves, code):
    saves.watch(code)
    for number in range(3):
        code.write_text(f"a = {number + 10}\n")
        assert saves.wait_for_one()


def test_a_file_that_is_replaced_or_missing_for_a_while_is_noticed(saves, code):
    saves.watch(code)
    new = code.with_name("new")
    new.write_text("a = 2\n")
    new.replace(code)
    assert saves.wait_for_one()
    code.unlink()
    code.write_text("a = 3\n")
    assert saves.wait_for_one()


def test_a_save_before_the_watch_began_is_noticed(saves, code):
    saves.watcher.watch_files({str(code): hashlib.sha256(b"older").hexdigest()})
    assert saves.wait_for_one()


def test_other_files_can_be_watched_instead(saves, code, tmp_path):
    other = tmp_path / "folder" / "q.py"
    other.parent.mkdir()
    other.write_text("b = 1\n")
    saves.watch(code)
    saves.watch(other)
    other.write_text("b = 2\n")
    assert saves.wait_for_one()
    saves.watcher.watch_files({})
    assert not saves.watcher.is_watching


def test_a_missing_folder_does_not_end_the_watch(saves, code, tmp_path):
    digest = hashlib.sha256(code.read_bytes()).hexdigest()
    saves.watcher.watch_files({str(tmp_path / "absent" / "q.py"): "", str(code): digest})
    code.write_text("a = 2\n")
    assert saves.wait_for_one()


def test_closing_ends_a_watch_that_began_or_not(code):
    for watches in (False, True):
        one = Saves()
        if watches:
            one.watch(code)
        one.watcher.close()
