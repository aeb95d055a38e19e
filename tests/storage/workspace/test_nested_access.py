"""Access to a workspace inside another access, and waiting for another one."""

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import duckdb
import pytest

from storage.db.locked_connection import LockedConnection
from storage.errors import WorkspaceBusyError, WorkspaceError
from storage.ingest import loader
from storage.workspace import file_opening
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    log = tmp_path / "log.jsonl"
    log.write_text(json.dumps({"id": "e1", "type": "T", "stream": "s", "data": {}}) + "\n")
    loader.load_source([str(log)], tmp_path / "log.refold")
    return WorkspaceFile(tmp_path / "log.refold")


@pytest.mark.parametrize("outer", ["reading", "writing"])
@pytest.mark.parametrize("inner", ["reading", "writing", "get_metadata"])
def test_an_access_inside_another_one_never_waits_for_itself(workspace, outer, inner):
    is_allowed = outer == "reading" and inner != "writing"
    errors: list[BaseException] = []

    def use() -> None:
        try:
            with getattr(workspace, outer)():
                if inner == "get_metadata":
                    workspace.get_metadata("generation")
                else:
                    with getattr(workspace, inner)():
                        pass
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive(), "the thread waits for itself"
    if is_allowed:
        assert not errors
    else:
        assert "on this thread" in str(errors[0])
    with workspace.writing() as connection:  # nothing is left locked
        connection.execute("SELECT 1")


def test_a_reader_in_another_thread_waits_for_the_writer(workspace):
    found: list[object] = []

    def read() -> None:
        found.append(workspace.get_metadata("generation"))

    with workspace.writing():
        thread = threading.Thread(target=read)
        thread.start()
        thread.join(0.1)
        assert not found
    thread.join(30)
    assert found == [workspace.generation]


@pytest.fixture
def attempts(monkeypatch) -> list[float]:
    """When a connection was tried, in seconds."""
    found: list[float] = []

    class Counted(LockedConnection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            found.append(time.monotonic())
            super().__init__(*arguments, **options)

    monkeypatch.setattr(file_opening, "LockedConnection", Counted)
    return found


def test_waiting_for_this_process_is_no_polling(workspace, attempts):
    """A second object of the same file waits until the first one notifies it."""
    waits = threading.Event()
    other = WorkspaceFile(workspace.path, on_wait=lambda _: waits.set())
    other.release()
    found: list[object] = []
    thread = threading.Thread(target=lambda: found.append(other.get_metadata("generation")))
    with workspace.writing():
        attempts.clear()
        thread.start()
        assert waits.wait(30)
        time.sleep(0.5)
    thread.join(30)
    assert found == [workspace.generation]
    assert len(attempts) <= 4


def test_waiting_for_another_process_backs_off(workspace, attempts):
    workspace.release()
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import duckdb; c = duckdb.connect({str(workspace.path)!r}); print(1, flush=True); input()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    attempts.clear()
    with pytest.raises(WorkspaceBusyError, match=f"process {holder.pid}"):
        WorkspaceFile(workspace.path, wait_seconds=1)
    holder.communicate(b"\n")
    assert 1 < len(attempts) < 40


def test_a_write_of_another_program_after_ours_is_validated(workspace, monkeypatch):
    """The other program writes between the end of refold's write and the note that it was valid."""

    class Interrupted(LockedConnection):
        def close(self) -> None:
            super().close()
            with duckdb.connect(str(workspace.path)) as other:
                other.execute("CREATE OR REPLACE MACRO count(x) AS 1")

    with monkeypatch.context() as patched:
        patched.setattr(file_opening, "LockedConnection", Interrupted)
        with workspace.writing() as connection:
            connection.execute("DELETE FROM bookmarks")
    with pytest.raises(WorkspaceError, match="macro count"):
        WorkspaceFile(workspace.path)
