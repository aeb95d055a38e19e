"""The workspace on one timeline: the log, or a fork of it.

Two classes implement it: `storage.workspace.workspace_file.WorkspaceFile` on the timeline `main`, and
`storage.timelines.forked_workspace.ForkedWorkspace` on a fork. Code above runs the same queries on both.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import duckdb

from storage.coordinates.event_labels import Label
from storage.coordinates.position_map import EditMark, PositionMap
from storage.workspace.workspace_file import MAIN_TIMELINE, WorkspaceFile

__all__ = ["MAIN_TIMELINE", "Workspace"]


class Workspace(Protocol):
    """A workspace on one timeline."""

    path: Path
    wait_seconds: float
    """How long opening waits for another process, in seconds."""
    timeline: str
    """The name of the timeline."""

    @property
    def main_workspace(self) -> WorkspaceFile:
        """The workspace on `main`, which opens and writes the file."""

    @property
    def lineage(self) -> "Sequence[Workspace]":
        """The forks from the log to this timeline, oldest first; empty on `main`.

        `storage.timelines.forked_workspace.list_lineage` returns them as forked workspaces.
        """

    @property
    def position_map(self) -> PositionMap:
        """The positions and labels of events on this timeline."""

    @property
    def timeline_digest(self) -> str:
        """A digest of the edits of this timeline; empty for `main`."""

    def reading(self) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Yield a cursor for queries of this timeline, valid inside the `with` and on its thread only."""

    def writing(
        self, *, use_all_cores: bool = True, generation: str | None = None
    ) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Yield a connection to the tables of the file inside one transaction; see `WorkspaceFile`."""

    def release(self) -> None:
        """Close the shared connection unless a thread is reading."""

    def close(self) -> None:
        """Close the shared connection as soon as the last running query ends."""

    def count_positions(self, connection: duckdb.DuckDBPyConnection) -> int:
        """Return the number of positions on this timeline, gaps included."""

    def label_at(self, position: int) -> Label:
        """Return the label of the event at a position."""

    def position_of(self, label: Label) -> int:
        """Return the position of an event; raises `PositionError` if the timeline has no such label."""

    def edit_marks(self, first_position: int, last_position: int) -> list[EditMark]:
        """Return the edits between two positions, both included, in order of position."""

    def table_sql(self, connection: duckdb.DuckDBPyConnection, name: str) -> str:
        """Return SQL for a table on this timeline, independent of views on the connection."""

    def get_metadata(self, name: str) -> Any:
        """Return a value of the `workspace` table, or None."""
