"""A workspace of an older format, written anew in this one.

What was loaded and what people made is taken over, column by column: these tables only ever got more
columns. What was folded isn't, as it is folded again when it is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from storage.db.duckdb_errors import trouble
from storage.errors import WorkspaceError
from storage.workspace import file_rewrite, schema, validation, validation_cache
from storage.workspace.file_rewrite import Change
from storage.workspace.workspace import Waiting, Workspace, write_fact

_FOLDED = frozenset(("projections", *schema.OF_FOLDS))


@dataclass(frozen=True)
class Migrated:
    """What was taken over, in rows."""

    format: int
    """What the workspace was before."""
    events: int
    forks: int
    edits: int
    calls: int
    bookmarks: int
    watches: int


class Older:
    """A workspace of whatever format that isn't newer, with nothing in it that could run.

    Raises `WorkspaceError` where it is no such file.
    """

    def __init__(self, path: Path, *, wait: float = 30.0, on_wait: Waiting | None = None) -> None:
        self.format = schema.FORMAT_VERSION
        self._tables: frozenset[str] = frozenset()
        """Those that it has of what is taken over."""
        self._workspace = Workspace(path, wait=wait, on_wait=on_wait, look=self._look)

    @property
    def outdated(self) -> bool:
        """Whether it has to be migrated."""
        return self.format < schema.FORMAT_VERSION

    @property
    def rows(self) -> int:
        """About how many are to be written."""
        with self._workspace.reading() as connection:
            # Not counted, as an older macro might be called `count`.
            found = connection.execute(
                "SELECT table_name, estimated_size FROM system.main.duckdb_tables()"
            ).fetchall()
        return sum(size for name, size in found if name in self._tables)

    def migrate(
        self,
        *,
        on_progress: Callable[[int], None] = lambda _: None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Migrated:
        """Write it anew in its place.

        Raises `CancelledError`, `StaleError` when another process has migrated it meanwhile, and
        `WorkspaceError` where there is no room.
        """
        changes: dict[str, Change | None] = {"bookmarks": _at_places}
        changes |= dict.fromkeys(schema.BY_NAME.keys() - self._tables)
        file_rewrite.rewrite(
            self._workspace, changes, _in_this_format, on_progress=on_progress, cancelled=cancelled
        )
        with Workspace(self._workspace.path).reading() as connection:
            counts = {
                name: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
                for name, table in _COUNTED.items()
            }
        return Migrated(self.format, **counts)

    def _look(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        try:
            version = validation_cache.format_of(connection)
            if not isinstance(version, int) or version >= schema.FORMAT_VERSION:
                return validation_cache.look_through(connection, path)
            strange = validation.beside_tables(connection)
            found = validation.columns(connection)
        except duckdb.Error as error:
            raise trouble(error, path) from error
        for name in schema.BY_NAME.keys() - _FOLDED:
            known = dict(schema.BY_NAME[name].columns)
            for column, kind in found.get(name, ()):
                if known.get(column) != kind:
                    strange = strange or f"no refold wrote the column {name}.{column}"
        if strange is not None:
            raise WorkspaceError(f"{path} is refused as a workspace: {strange}.")
        self.format = version
        self._tables = frozenset(found.keys() & (schema.BY_NAME.keys() - _FOLDED))
        return None


_COUNTED = {
    "events": "events",
    "forks": "timelines",
    "edits": "edits",
    "calls": "calls",
    "bookmarks": "bookmarks",
    "watches": "watches",
}


def _at_places(bookmarks: pa.Table) -> pa.Table:
    """Before there were forks, nothing was inserted behind an event."""
    if "inserted" in bookmarks.column_names:
        return bookmarks
    return bookmarks.append_column("inserted", pa.array([0] * bookmarks.num_rows, pa.int64()))


def _in_this_format(new: duckdb.DuckDBPyConnection) -> None:
    write_fact(new, "format_version", schema.FORMAT_VERSION)
