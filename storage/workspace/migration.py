"""Migrates a workspace of an older format by rewriting it.

Loaded events and people's own data (forks, recordings, bookmarks, watches) are copied column by column,
because newer formats only added columns to these tables. Folds are dropped; they are computed again
when needed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from storage.db.duckdb_errors import translate_error
from storage.errors import WorkspaceError
from storage.workspace import file_rewrite, schema, validation, validation_cache
from storage.workspace.file_opening import OnWait
from storage.workspace.file_rewrite import RowTransform
from storage.workspace.metadata import write_metadata
from storage.workspace.workspace_file import WorkspaceFile

_FOLD_TABLES = frozenset(("projections", *schema.FOLD_TABLES))


@dataclass(frozen=True)
class MigrationResult:
    """The number of rows that were copied, by kind."""

    format: int
    """The format before the migration."""
    events: int
    forks: int
    edits: int
    calls: int
    bookmarks: int
    watches: int


class OlderWorkspace:
    """A workspace file of the current or an older format, checked to contain no views or macros.

    Raises `WorkspaceError` if the file is not such a workspace.
    """

    def __init__(
        self, path: Path, *, wait_seconds: float = 30.0, on_wait: OnWait | None = None
    ) -> None:
        self.format = schema.FORMAT_VERSION
        self._migrated_tables: frozenset[str] = frozenset()
        """The tables of the file that a migration copies."""
        self._workspace = WorkspaceFile(
            path, wait_seconds=wait_seconds, on_wait=on_wait, validate=self._validate
        )

    @property
    def is_outdated(self) -> bool:
        """Whether the workspace must be migrated before it can be opened."""
        return self.format < schema.FORMAT_VERSION

    @property
    def estimate_rows(self) -> int:
        """About how many rows a migration copies."""
        with self._workspace.reading() as connection:
            # An estimate, because the file might define a macro called `count`.
            found = connection.execute(
                "SELECT table_name, estimated_size FROM system.main.duckdb_tables()"
            ).fetchall()
        return sum(size for name, size in found if name in self._migrated_tables)

    def migrate(
        self,
        *,
        on_progress: Callable[[int], None] = lambda _: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> MigrationResult:
        """Rewrite the workspace in the current format, in place.

        `on_progress` receives the number of rows processed. Raises `CancelledError`, `StaleError` if
        another process has migrated the file meanwhile, and `WorkspaceError` if it can't be written.
        """
        changes: dict[str, RowTransform | None] = {"bookmarks": _add_inserted_column}
        changes |= dict.fromkeys(schema.TABLES_BY_NAME.keys() - self._migrated_tables)
        file_rewrite.rewrite_workspace(
            self._workspace,
            changes,
            _write_format_version,
            on_progress=on_progress,
            is_cancelled=is_cancelled,
        )
        with WorkspaceFile(self._workspace.path).reading() as connection:
            counts = {
                name: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0]
                for name, table in _COUNTED_TABLES.items()
            }
        return MigrationResult(self.format, **counts)

    def _validate(self, connection: duckdb.DuckDBPyConnection, path: Path) -> None:
        try:
            version = validation_cache.read_format_version(connection)
            if not isinstance(version, int) or version >= schema.FORMAT_VERSION:
                return validation_cache.validate_once(connection, path)
            strange = validation.find_object_besides_tables(connection)
            found = validation.read_table_columns(connection)
        except duckdb.Error as error:
            raise translate_error(error, path) from error
        for name in schema.TABLES_BY_NAME.keys() - _FOLD_TABLES:
            known = dict(schema.TABLES_BY_NAME[name].columns)
            for column, kind in found.get(name, ()):
                if known.get(column) != kind:
                    strange = (
                        strange
                        or f"it contains the column {name}.{column}, which refold did not create"
                    )
        if strange is not None:
            raise WorkspaceError(f"{path} is refused as a workspace: {strange}.")
        self.format = version
        self._migrated_tables = frozenset(
            found.keys() & (schema.TABLES_BY_NAME.keys() - _FOLD_TABLES)
        )
        return None


_COUNTED_TABLES = {
    "events": "events",
    "forks": "timelines",
    "edits": "edits",
    "calls": "calls",
    "bookmarks": "bookmarks",
    "watches": "watches",
}


def _add_inserted_column(bookmarks: pa.Table) -> pa.Table:
    """Add the column that came with forks; older bookmarks are never at an inserted event."""
    if "inserted" in bookmarks.column_names:
        return bookmarks
    return bookmarks.append_column("inserted", pa.array([0] * bookmarks.num_rows, pa.int64()))


def _write_format_version(new: duckdb.DuckDBPyConnection) -> None:
    write_metadata(new, "format_version", schema.FORMAT_VERSION)
