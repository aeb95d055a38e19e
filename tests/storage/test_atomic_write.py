"""Files that are written completely or not at all."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.exchange import import_export
from replay.export import timeline_log
from replay.forks import fork_file
from storage.atomic_write import atomic_path, write_atomically
from storage.errors import ProjectionError, QueryError
from storage.ingest.io import keyed_hash
from storage.workspace import validation_cache
from tests.support.fork_bench import Bench
from tui.cli.support.consent import agreements


@contextmanager
def full_disk() -> Iterator[None]:
    """Let each write of more than 8 bytes into a file fail, as on a full disk; its creation succeeds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_is_written(tmp_path, replace):
    write_atomically(tmp_path / "a", b"content of a", replace=replace)
    assert files(tmp_path) == {"a": b"content of a"}


@pytest.mark.parametrize("before", [{}, {"a": b"old"}])
def test_a_full_disk_leaves_what_was_there(tmp_path, before):
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    with full_disk(), pytest.raises(OSError, match="too large") as caught:
        write_atomically(tmp_path / "a", b"content of a")
    assert caught.value.filename == str(tmp_path / "a")
    assert files(tmp_path) == before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_while_writing_leaves_what_was_there(tmp_path, error):
    (tmp_path / "a").write_bytes(b"old")

    def write_half() -> None:
        with atomic_path(tmp_path / "a") as unfinished:
            unfinished.write_bytes(b"half")
            raise error

    with pytest.raises(error):
        write_half()
    assert files(tmp_path) == {"a": b"old"}


@pytest.mark.parametrize("has_links", [True, False])
def test_an_existing_file_is_not_replaced(tmp_path, has_links, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    write_atomically(tmp_path / "a", b"first", replace=False)
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "a", b"second", replace=False)
    assert files(tmp_path) == {"a": b"first"}


def test_a_private_file_is_the_users_only(tmp_path):
    write_atomically(tmp_path / "a", b"x", is_private=True)
    assert (tmp_path / "a").stat().st_mode & 0o077 == 0


def test_a_long_name_can_be_written(tmp_path):
    write_atomically(tmp_path / ("a" * 255), b"x")
    assert len(files(tmp_path)) == 1


def test_a_fork_is_exported_whole_or_not_at_all(bench: Bench, tmp_path):
    fork = bench.fork("f", lambda made: made.drop(7))
    target = tmp_path / "out" / "fork.json"
    target.parent.mkdir()
    with full_disk(), pytest.raises(OSError, match="too large"):
        fork_file.write_fork_file(fork, target)
    assert files(target.parent) == {}
    fork_file.write_fork_file(fork, target)
    with pytest.raises(QueryError, match="exists already"):
        fork_file.write_fork_file(fork, target)
    assert list(files(target.parent)) == ["fork.json"]


@pytest.mark.parametrize("name", ["log.jsonl", "log.parquet"])
def test_a_log_is_exported_whole_or_not_at_all(bench: Bench, tmp_path, name):
    target = tmp_path / "out" / name
    target.parent.mkdir()
    with full_disk(), pytest.raises(Exception, match=r"too large|File size limit"):
        timeline_log.write_timeline_log(bench.workspace, target)
    assert files(target.parent) == {}
    assert timeline_log.write_timeline_log(bench.workspace, target) == 30
    assert list(files(target.parent)) == [name]


def test_recordings_are_exported_whole_or_not_at_all(bench: Bench, tmp_path):
    target = tmp_path / "out" / "calls.yaml"
    target.parent.mkdir()
    with full_disk(), pytest.raises(Exception, match="too large"):
        import_export.export_recordings(bench.workspace, target)
    assert files(target.parent) == {}


def test_the_redaction_key_is_created_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with full_disk(), pytest.raises(Exception, match="can't be created"):
        keyed_hash.load_or_create_key()
    assert files(tmp_path / "refold") == {}
    assert keyed_hash.load_or_create_key() == keyed_hash.load_or_create_key()
    assert list(files(tmp_path / "refold")) == ["redaction.key"]


def test_the_cache_of_validated_files_is_written_whole_or_not_at_all(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = bench.workspace.path
    identity = validation_cache.read_identity(path)
    assert identity is not None
    with full_disk():
        validation_cache.mark_validated(path, identity, own=True)
    assert list(files(tmp_path / "refold")) == ["looked-through.json.lock"]
    validation_cache.mark_validated(path, identity, own=True)
    assert "looked-through.json" in files(tmp_path / "refold")


def test_an_agreement_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    with full_disk(), pytest.raises(ProjectionError, match="too large"):
        agreements.keep_agreement(tmp_path / "refold.toml", [], only=True)
    assert list(files(tmp_path / "refold" / "agreements")) == ["lock"]
