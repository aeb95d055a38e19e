"""A workspace of an older format, written anew in this one.

What was loaded and what people made is taken over, column by column: these tables only ever got more
columns. What was folded isn't, as it is folded again when it is asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from storage.db.duckdb_errors import translate_error
from storage.errors import WorkspaceError
from storage.workspace import file_rewrite, schema, validation, validation_cache
from storage.workspace.file_rewrite import RowTransform
from storage.workspace.workspace import OnWait, Workspace, write_metadata

_FOLD_TABLES = frozenset(("projections", *schema.FOLD_TABLES))


@dataclass(frozen=True)
class MigrationResult:
    """What was taken over, in rows."""

    format: int
    """What the workspace was before."""
    events: int
    forks: int
    edits: int
    calls: int
    bookmarks: int
    watches: int


class OlderWorkspace:
    """A workspace of whatever format that isn't newer, with nothing in it that could run.

    Raises `WorkspaceError` where it is no such file.
    """

    def __init__(
        self, path: Path, *, wait_seconds: float = 30.0, on_wait: OnWait | None = None
    ) -> None:
        self.format = schema.FORMAT_VERSION
        self._migrated_tables: frozenset[str] = frozenset()
        """Those that it has of what is taken over."""
        self._workspace = Workspace(
            path, wait_seconds=wait_seconds, on_wait=on_wait, validate=self._validate
        )

    @property
    def is_outdated(self) -> bool:
        """Whether it has to be migrated."""
        return self.format < schema.FORMAT_VERSION

    @property
    def estimate_rows(self) -> int:
        """About how many are to be written."""
        with self._workspace.reading() as connection:
            # Not counted, as an older macro might be called `count`.
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
        """Write it anew in its place.

        Raises `CancelledError`, `StaleError` when another process has migrated it meanwhile, and
        `WorkspaceError` where there is no room.
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
        with Workspace(self._workspace.path).reading() as connection:
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
                    strange = strange or f"no refold wrote the column {name}.{column}"
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
    """Before there were forks, nothing was inserted behind an event."""
    if "inserted" in bookmarks.column_names:
        return bookmarks
    return bookmarks.append_column("inserted", pa.array([0] * bookmarks.num_rows, pa.int64()))


def _write_format_version(new: duckdb.DuckDBPyConnection) -> None:
    write_metadata(new, "format_version", schema.FORMAT_VERSION)
