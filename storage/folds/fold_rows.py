"""Rows of the table `folds`: how far each projection is folded on each timeline, with its totals."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from storage.coordinates.fold_scope import FoldScope
from storage.folds.projection_rows import ProjectionRow
from storage.workspace import schema


@dataclass(frozen=True)
class FoldRow:
    """The progress and the totals of one fold."""

    first_offset: int
    """The first event whose changes are known; above 0 only after a fold over a part of the log."""
    next_offset: int
    """The offset of the next event to fold."""
    skipped_events: int
    unhandled_by_type: Mapping[str, int]
    failure_count: int
    document_count: int
    change_count: int
    part_change_count: int
    round_trips_json: bool | None
    """Whether every state comes back from its JSON unchanged; None if not all were checked."""
    call_count: int
    recordings_version: int
    """The version of the recordings that answered the calls."""
    isolation: str | None
    """How the worker was sandboxed; None if there was none."""
    number_columns: str | None
    """The paths whose numbers are stored beside the states, as JSON."""
    seconds: float
    """How long the fold took."""
    timeline_digest: str
    """The content of the timeline when it was folded."""

    @property
    def flush_id(self) -> tuple[Any, ...]:
        """The identity of the last flush.

        It includes the seconds spent: two processes take different times, so a fold that another
        process restarted is noticed even if it has as many changes.
        """
        return self.next_offset, self.change_count, self.timeline_digest, self.seconds


@dataclass(frozen=True)
class StoredFold:
    """A fold with the projection that was folded."""

    scope: FoldScope
    projection: ProjectionRow
    totals: FoldRow


_FOLD_COLUMNS = (
    "first, folded, skipped, unhandled, failures, keys, changes, parts, plain, calls, answers, room,"
    " numbers, seconds, digest"
)


def read_fold(connection: duckdb.DuckDBPyConnection, scope: FoldScope) -> FoldRow | None:
    """Return the progress of a fold; None if it was never flushed."""
    rows = connection.execute(
        f"SELECT {_FOLD_COLUMNS} FROM folds WHERE {scope.condition}"
    ).fetchall()
    return _fold_row(rows[0]) if rows else None


def find_folds(
    connection: duckdb.DuckDBPyConnection,
    timeline: str,
    *,
    projection_number: int | None = None,
    reference: str | None = None,
    python: str | None = None,
    settings_digest: str | None = None,
) -> list[StoredFold]:
    """Return the folds on a timeline, newest last.

    With a number, the fold of that projection. Without one, the folds of projections that aren't
    superseded; of these, only the ones with the given reference, interpreter and settings.
    """
    wanted = {
        "p.projection": projection_number,
        "reference": reference,
        "python": python,
        "settings": settings_digest,
    }
    given = {column: value for column, value in wanted.items() if value is not None}
    conditions = ["timeline = ?", *(f"{column} = ?" for column in given)]
    if projection_number is None:
        conditions.append("NOT superseded")
    rows = connection.execute(
        "SELECT p.projection, timeline, name, hash, reference, python, files, invariants, settings,"
        f" {_FOLD_COLUMNS} FROM projections AS p JOIN folds AS f ON p.projection = f.projection"
        f" WHERE {' AND '.join(conditions)} ORDER BY created, p.projection",
        [timeline, *given.values()],
    ).fetchall()
    return [
        StoredFold(
            FoldScope(row[0], row[1]),
            ProjectionRow(*_decode_json(row[2:9], 4, 5)),
            _fold_row(row[9:]),
        )
        for row in rows
    ]


def write_fold(connection: duckdb.DuckDBPyConnection, scope: FoldScope, row: FoldRow) -> None:
    """Write the progress of a fold, in place of an earlier one."""
    values = {**vars(row), "unhandled_by_type": json.dumps(row.unhandled_by_type)}
    connection.execute(f"DELETE FROM folds WHERE {scope.condition}")
    connection.execute(
        f"INSERT INTO folds SELECT {scope.columns_sql}{', ?' * len(values)}", list(values.values())
    )


def count_written_changes(connection: duckdb.DuckDBPyConnection, scope: FoldScope) -> int:
    """Return the number of changes that a fold has written itself, on a connection that writes."""
    ((count,),) = connection.execute(
        f"SELECT count(*) FROM history WHERE {scope.condition}"
    ).fetchall()
    return int(count)


def write_recordings_version(
    connection: duckdb.DuckDBPyConnection, projection_number: int, version: int
) -> None:
    """Note the version of the recordings that a projection's calls agree with, on all timelines."""
    connection.execute(
        "UPDATE folds SET answers = ? WHERE projection = ?", [version, projection_number]
    )


def count_folds(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of folds that folded any event."""
    ((count,),) = connection.execute("SELECT count(*) FROM folds WHERE folded > first").fetchall()
    return int(count)


def delete_fold(
    connection: duckdb.DuckDBPyConnection, projection_number: int, timeline: str | None = None
) -> None:
    """Delete the fold of a projection on a timeline, or on all timelines with None.

    The folds of forks that build on it are deleted too. The row in `projections` stays.
    """
    targets = [(projection_number, timeline)]
    for projection, fork_timeline in targets:
        targets += connection.execute(
            "SELECT f.projection, f.timeline FROM forked AS f JOIN timelines AS t USING (timeline)"
            " WHERE f.base = ? AND (t.parent = ? OR ? IS NULL)",
            [projection, fork_timeline, fork_timeline],
        ).fetchall()
    for projection, fork_timeline in targets:
        for table in schema.FOLD_TABLES:
            condition = "" if fork_timeline is None else " AND timeline = ?"
            parameters = [projection] if fork_timeline is None else [projection, fork_timeline]
            connection.execute(f"DELETE FROM {table} WHERE projection = ?{condition}", parameters)


def _fold_row(row: tuple[Any, ...]) -> FoldRow:
    return FoldRow(*_decode_json(row, 3))


def _decode_json(row: tuple[Any, ...], *json_columns: int) -> list[Any]:
    """Return the values of a row, with the columns at these indexes decoded from JSON."""
    return [json.loads(value) if n in json_columns else value for n, value in enumerate(row)]
