"""A workspace file is open for one writer or for several readers, from before DuckDB reads its header."""

import fcntl
import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import duckdb
import pytest

from storage.db.locked_connection import FileInUseError, LockedConnection
from storage.db.memory_budget import MemoryBudget

BUDGET = MemoryBudget(64_000_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "log.refold"
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE t (n INTEGER)")
    return file


def _hold(path: Path, read_only: bool, channel: Connection) -> None:
    opened = LockedConnection(path, read_only=read_only, budget=BUDGET)
    channel.send("open")
    channel.recv()
    opened.close()
    channel.send("closed")


@pytest.fixture
def open_elsewhere(path: Path) -> Iterator[Callable[[bool], Connection]]:
    """Open the file in another process; a message to the pipe closes it."""
    started = []

    def start(read_only: bool) -> Connection:
        here, there = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=_hold, args=(path, read_only, there))
        process.start()
        started.append(process)
        assert here.recv() == "open"
        return here

    yield start
    for process in started:
        process.kill()
        process.join()


def _find_holder(path: Path, *, read_only: bool) -> str | None:
    """Return who has the file in use, or None if it could be opened."""
    try:
        LockedConnection(path, read_only=read_only, budget=BUDGET).close()
    except FileInUseError as error:
        return error.holder
    return None


def test_a_writer_excludes_readers_and_writers_of_other_processes(
    path: Path, open_elsewhere: Callable[[bool], Connection]
) -> None:
    channel = open_elsewhere(False)
    for read_only in (True, False):
        assert "(process " in (_find_holder(path, read_only=read_only) or "")
    channel.send("close")
    assert channel.recv() == "closed"
    assert _find_holder(path, read_only=False) is None


def test_readers_share_the_file_and_exclude_writers(
    path: Path, open_elsewhere: Callable[[bool], Connection]
) -> None:
    channel = open_elsewhere(True)
    assert _find_holder(path, read_only=True) is None
    assert "(process " in (_find_holder(path, read_only=False) or "")
    channel.send("close")
    assert channel.recv() == "closed"


def test_a_second_connection_of_this_process_is_told_so(path: Path) -> None:
    opened = LockedConnection(path, read_only=True, budget=BUDGET)
    assert _find_holder(path, read_only=False) == "this process"
    opened.close()
    assert _find_holder(path, read_only=False) is None


def test_duckdb_opens_the_file_only_under_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DuckDB reads the header before its own lock, so a write that ended in between was undone."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("DuckDB opened the file while it was locked")

    monkeypatch.setattr("storage.db.locked_connection.connect_isolated", refuse)
    with path.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        for read_only in (True, False):
            assert _find_holder(path, read_only=read_only) == "another process"


def test_a_missing_file_and_a_folder_keep_duckdbs_own_error(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.refold", tmp_path):
        with pytest.raises(duckdb.Error):
            LockedConnection(path, read_only=True, budget=BUDGET)


def test_a_file_that_replaced_another_one_is_locked_itself(path: Path, tmp_path: Path) -> None:
    opened = LockedConnection(path, read_only=False, budget=BUDGET)
    other = tmp_path / "other.refold"
    with duckdb.connect(str(other)) as connection:
        connection.execute("CREATE TABLE replaced (n INTEGER)")
    other.replace(path)
    opened.close()
    found = LockedConnection(path, read_only=True, budget=BUDGET)
    assert found.connection.execute("SELECT table_name FROM duckdb_tables()").fetchall() == [
        ("replaced",)
    ]
    found.close()
