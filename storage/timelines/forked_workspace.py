"""The workspace on a fork: the tables of events and folds with the fork's edits applied.

Temporary views replace the tables on a fork's connection. A view returns the parent's unchanged rows at
their positions on the fork, and the fork's own rows. Code above storage therefore runs the same queries
on a fork and on the log.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import duckdb

from storage.coordinates.event_labels import Label
from storage.coordinates.position_map import EditMark
from storage.errors import WorkspaceError
from storage.timelines import fork_store
from storage.timelines.fork_views import ForkViews
from storage.timelines.overlay import ForkOverlay
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile

if TYPE_CHECKING:
    from storage.timelines.fork_store import Fork


def open_timeline(workspace: Workspace, name: str) -> Workspace:
    """Return the workspace on a timeline; raises `WorkspaceError` if there is no such timeline."""
    opened: Workspace = workspace
    for timeline in fork_store.read_lineage(workspace, name):
        opened = ForkedWorkspace(opened, timeline)
    return opened


def open_fork(workspace: Workspace, name: str) -> "ForkedWorkspace":
    """Return the workspace on a fork; raises `WorkspaceError` if there is no such fork."""
    fork = as_fork(open_timeline(workspace.main_workspace, name))
    if fork is None:
        raise WorkspaceError(f"{name} is the log itself, not a fork. Give the name of a fork.")
    return fork


def list_lineage(workspace: Workspace) -> "list[ForkedWorkspace]":
    """Return the forks from the log to a timeline, oldest first; empty on `main`."""
    # `Workspace` lies below this module, so its lineage can't name the class.
    return cast("list[ForkedWorkspace]", list(workspace.lineage))


def as_fork(workspace: Workspace) -> "ForkedWorkspace | None":
    """Return the workspace as a forked one; None on `main`."""
    lineage = list_lineage(workspace)
    return lineage[-1] if lineage else None


def list_fork_values(workspace: Workspace) -> "list[Fork]":
    """Return the forks from the log to a timeline in the version that was read, oldest first."""
    return [forked.fork for forked in list_lineage(workspace)]


class ForkedWorkspace:
    """A workspace on a fork; the fork may not be stored yet."""

    def __init__(self, parent: Workspace, fork: "Fork", before: "Fork | None" = None) -> None:
        """`before` is the fork without the edits that aren't stored yet."""
        # The workspace on main opens, locks and releases the file.
        self.parent = parent
        self._main_workspace = parent.main_workspace
        self.path = parent.path
        self.wait_seconds = parent.wait_seconds
        self.fork = fork
        self.before = before
        self.timeline = fork.name
        self._fork_overlay = ForkOverlay(fork, parent.position_map)
        self._cursor_name = object()
        """The name of the cursors prepared for this workspace; using `self` would keep the file open."""

    @property
    def main_workspace(self) -> WorkspaceFile:
        return self._main_workspace

    @property
    def lineage(self) -> Sequence[Workspace]:
        return (*self.parent.lineage, self)

    @property
    def position_map(self) -> ForkOverlay:
        return self._fork_overlay

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.main_workspace.reading_prepared(
            self._cursor_name, lambda c: self._build_views(c).install()
        ) as connection:
            yield connection

    @contextmanager
    def writing(
        self, *, use_all_cores: bool = True, generation: str | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection to the file's own tables, without the fork's views, in one transaction."""
        with self.main_workspace.writing(
            use_all_cores=use_all_cores, generation=generation
        ) as connection:
            yield connection

    def release(self) -> None:
        self.main_workspace.release()

    def close(self) -> None:
        self.main_workspace.close()

    def count_positions(self, connection: duckdb.DuckDBPyConnection) -> int:
        return self.parent.count_positions(connection) + len(self.position_map.insert_anchors)

    @property
    def timeline_digest(self) -> str:
        return "".join(filter(None, [self.parent.timeline_digest, self.fork.digest]))

    def label_at(self, position: int) -> Label:
        return self.position_map.label_at(position)

    def position_of(self, label: Label) -> int:
        return self.position_map.position_of(label)

    def edit_marks(self, first_position: int, last_position: int) -> list[EditMark]:
        return self.position_map.edit_marks(first_position, last_position)

    def table_sql(self, connection: duckdb.DuckDBPyConnection, name: str) -> str:
        return self._build_views(connection).relation_sql(name)

    def get_metadata(self, name: str) -> Any:
        return self.main_workspace.get_metadata(name)

    def _build_views(self, connection: duckdb.DuckDBPyConnection) -> ForkViews:
        views: ForkViews | None = None
        for forked in list_lineage(self):
            views = ForkViews(
                connection, self.main_workspace, forked.fork, forked.position_map, views
            )
        assert views is not None  # noqa: S101 - the lineage of a fork ends with the fork itself
        return views
