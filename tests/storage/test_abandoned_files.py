"""Files that a killed process left unfinished are removed by the next one that writes there."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gateway.exchange.import_export import export_recordings
from storage import abandoned_files
from storage.ingest.io import keyed_hash
from storage.ingest.parser.parser_process import ParserProcess
from storage.workspace.new_workspace import create_workspace
from storage.workspace.workspace_file import WorkspaceFile
from tui.cli.support.consent import agreements


def ended_process() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_only_files_of_ended_processes_are_abandoned(tmp_path: Path) -> None:
    own = abandoned_files.unfinished_path(tmp_path, "x.")
    own.write_text("own")
    dead = tmp_path / f"x.{ended_process()}-ab"
    for path in (dead, tmp_path / "x.bak", tmp_path / f"y.{ended_process()}-ab"):
        path.write_text("other")
    abandoned_files.remove_abandoned(tmp_path, "x.")
    assert own.exists()
    assert not dead.exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_next_use_of_the_redaction_key_removes_an_unfinished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    key = keyed_hash.load_or_create_key()
    path = keyed_hash.key_path()
    path.with_name(f".refold-unfinished-{ended_process()}-0a1b2c3d").write_text("ab" * 32)
    assert keyed_hash.load_or_create_key() == key
    assert list(path.parent.iterdir()) == [path]


def test_next_agreement_removes_an_unfinished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "refold.toml"
    agreements.keep_agreement(file, [], only=True)
    folder = tmp_path / "refold" / "agreements"
    left = folder / f".refold-unfinished-{ended_process()}-0a1b2c3d"
    left.write_text("{")
    agreements.keep_agreement(file, [], only=True)
    assert not left.exists()


def test_next_export_of_recordings_removes_an_unfinished_one(tmp_path: Path) -> None:
    with create_workspace(tmp_path / "w.refold"):
        pass
    left = tmp_path / f".refold-unfinished-{ended_process()}-0a1b2c3d"
    left.write_text("{")
    export_recordings(WorkspaceFile(tmp_path / "w.refold"), tmp_path / "out.har")
    assert {path.name for path in tmp_path.iterdir()} == {"w.refold", "out.har"}


def test_next_parser_removes_folders_of_killed_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    running = ParserProcess(0, ())
    (used,) = tmp_path.iterdir()
    left, fresh = tmp_path / "refold-parser-left", tmp_path / "refold-parser-fresh"
    for folder in (left, fresh):
        folder.mkdir()
        (folder / "file").write_text("x")
    hour_ago = time.time() - 3600
    for folder in (left, used):
        os.utime(folder, (hour_ago, hour_ago))
    ParserProcess(0, ()).close()
    assert set(tmp_path.iterdir()) == {used, fresh}
    running.close()
    assert set(tmp_path.iterdir()) == {fresh}
