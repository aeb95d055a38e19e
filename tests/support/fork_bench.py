"""A small log with a projection, and forks of it."""

import json
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from replay import fold
from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from replay.history.history import History
from replay.projection import projection_reference
from replay.projection.projection_reference import Reference
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace import new_workspace
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile

PROJECTION = """
def initial(key): return {"total": 0, "last": None}
def on_Added(state, event):
    state["total"] += event.data["by"]
    state["last"] = event.id
def on_Failed(state, event): raise ValueError("no")
"""


@cache
def _log() -> bytes:
    """Return the bytes of the workspace, which is created once and then copied."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.refold"
        with new_workspace.create_workspace(path) as connection:
            for n in range(30):
                connection.execute(
                    'INSERT INTO events ("offset", time, stream, type, id, data) VALUES'
                    " (?, TIMESTAMPTZ '2026-01-01' + INTERVAL (?) MINUTE, ?, 'Added', ?, ?)",
                    [n, n, "abcde"[n % 5], f"e{n}", json.dumps({"by": n})],
                )
        return path.read_bytes()


class Bench:
    """A workspace of thirty events in five streams, with helpers to fork and fold it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "log.refold").write_bytes(_log())
        self.workspace = WorkspaceFile(folder / "log.refold")
        self.code(PROJECTION)

    def code(self, text: str, name: str = "p.py") -> Reference:
        (self.folder / name).write_text(text)
        return self.refer(name)

    def refer(self, name: str = "p.py") -> Reference:
        return projection_reference.parse_reference(name, sys.executable, self.folder)

    def fork(
        self, name: str, wish: Callable[[EditBuilder], Any], parent: Workspace | None = None
    ) -> ForkedWorkspace:
        made = EditBuilder(parent or self.workspace, name)
        wish(made)
        return edit_builder.save_fork(
            edit_builder.create_fork(parent or self.workspace, name, made.edits)
        )

    def history(self, workspace: Workspace | None = None, name: str = "p.py") -> History:
        workspace = workspace or self.workspace
        return History(workspace, fold.fold_projection(workspace, self.refer(name)))

    def total(self, history: History, key: str) -> int | None:
        change = history.state_at(key, history.fold_record.next_offset - 1)
        return None if change is None or change.state is None else json.loads(change.state)["total"]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def event(stream: str, by: int, **fields: Any) -> str:
    return json.dumps({"type": "Added", "stream": stream, "data": {"by": by}, **fields})
