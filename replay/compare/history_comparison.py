"""Comparison of two histories of one log: of two timelines, projections or versions of a projection.

A document differs if its states differ, whatever rows they are stored in: a deleted document equals one
that was never created. Large documents are compared part by part. States are compared by 64-bit hashes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from replay.compare.alignment import AlignedTimelines
from replay.document.diff import Difference, find_differences
from replay.history.changes import Change, value_after
from replay.history.forked_history import ForkedHistory, find_forked_history
from replay.history.history import History
from storage.coordinates.event_labels import Label


@dataclass(frozen=True)
class DifferingDocument:
    """A document that differs, and the first event after which it differs."""

    key: str
    coordinate: int
    """The coordinate of that event; see `replay.compare.alignment`."""
    label: Label


@dataclass(frozen=True)
class HistoryComparison:
    """The differences between two histories, each at a position of its timeline."""

    a: History
    b: History
    aligned_timelines: AlignedTimelines
    positions: tuple[int, int]
    """The position of `a` on its timeline, and of `b` on its own."""
    differing_documents: Sequence[DifferingDocument]
    """In the order in which they diverged."""

    def states(self, key: str) -> tuple[str | None, str | None]:
        """Return a document's state in both histories, as JSON; None if it doesn't exist."""
        a, b = self._changes_of(key)
        return None if a is None else a.state, None if b is None else b.state

    def differences(self, key: str) -> list[Difference]:
        """Return how a document differs: before in the first history, after in the second."""
        return find_differences(*map(value_after, self._changes_of(key)))

    def _changes_of(self, key: str) -> tuple[Change | None, Change | None]:
        return self.a.state_at(key, self.positions[0]), self.b.state_at(key, self.positions[1])


# Rows that both histories have cancel each other out in the XOR, so one pass with one number for each
# document finds most documents to be equal. Only the states of the others are sorted. DuckDB's hash of
# two values is almost their sum, so it is hashed again; without that, two differences could cancel out.
_ODD_ROWS_SQL = """
CREATE OR REPLACE TEMP TABLE odd AS SELECT bucket, key, part FROM ({rows}) GROUP BY ALL
HAVING bit_xor(hash(hash(spot, is_now))) <> 0
"""
_DIFFERING_SQL = """
WITH steps AS (
    SELECT bucket, key, part, spot, last(is_now ORDER BY change) FILTER (NOT late) AS a,
        last(is_now ORDER BY change) FILTER (late) AS b
    FROM ({rows}) SEMI JOIN odd USING (bucket, key, part) GROUP BY ALL
), states AS (
    SELECT bucket, key, part, spot, coalesce(last_value(a IGNORE NULLS) OVER so_far, 0::UBIGINT) AS a,
        coalesce(last_value(b IGNORE NULLS) OVER so_far, 0::UBIGINT) AS b
    FROM steps WINDOW so_far AS (PARTITION BY bucket, key, part ORDER BY spot)
), ended AS (
    SELECT key, min(spot) FILTER (a <> b) AS spot, arg_max(a <> b, spot) AS differs
    FROM states GROUP BY bucket, key, part
)
SELECT key, min(spot) AS spot, count(*) OVER () FROM ended GROUP BY key
HAVING {which} ORDER BY 2, 1 LIMIT {most}
"""


def compare_histories(
    a: History, b: History, positions: tuple[int, int] | None = None
) -> HistoryComparison:
    """Return the documents that differ at the positions, or at the end of both histories.

    Without positions, two histories of one timeline are compared as far as both go. Scans the documents
    that may differ.
    """
    aligned_timelines = AlignedTimelines(a.workspace, b.workspace)
    if positions is None:
        positions = _last_positions(a, b)
    found, _ = find_differing_documents(a, b, aligned_timelines, positions)
    differing = [
        DifferingDocument(key, coordinate, aligned_timelines.label_at(coordinate))
        for key, coordinate in found
    ]
    return HistoryComparison(a, b, aligned_timelines, positions, differing)


def find_differing_documents(
    a: History,
    b: History,
    aligned_timelines: AlignedTimelines,
    positions: tuple[int, int],
    *,
    include_healed: bool = False,
    limit: int | None = None,
) -> tuple[list[tuple[str, int]], int]:
    """Return the keys of documents that differ at the positions, and the number of all that differ.

    Each key comes with the coordinate from which it differs; they are sorted by it and cut to `limit`.
    With `include_healed`, documents count that differed earlier and no longer do at the positions.
    """
    which = "min(spot) IS NOT NULL" if include_healed else "bool_or(differs)"
    with a.workspace.main_workspace.reading() as connection:
        connection.execute(
            _ODD_ROWS_SQL.format(rows=_rows_sql(connection, a, b, aligned_timelines, positions))
        )
        rows = _rows_sql(
            connection, a, b, aligned_timelines, positions, of="SEMI JOIN odd USING (bucket)"
        )
        limit_sql = "ALL" if limit is None else int(limit)
        query = _DIFFERING_SQL.format(rows=rows, which=which, most=limit_sql)
        found = connection.execute(query).fetchall()
    return [(key, spot) for key, spot, _ in found], found[0][2] if found else 0


def _last_positions(a: History, b: History) -> tuple[int, int]:
    if a.workspace.timeline == b.workspace.timeline:
        end = min(a.fold_record.next_offset, b.fold_record.next_offset) - 1
        return end, end
    return a.fold_record.next_offset - 1, b.fold_record.next_offset - 1


def _rows_sql(
    connection: duckdb.DuckDBPyConnection,
    a: History,
    b: History,
    aligned_timelines: AlignedTimelines,
    positions: tuple[int, int],
    of: str = "",
) -> str:
    """Return SQL for the rows of both histories; `of` is a join that restricts them."""
    only = _candidate_condition(a, b)
    texts = []
    for history, side, until, late in (
        (a, aligned_timelines.a, positions[0], False),
        (b, aligned_timelines.b, positions[1], True),
    ):
        workspace, fold_record = history.workspace, history.fold_record
        condition = f'{history.scope.condition} AND "offset" <= {int(until)}{only}'
        state = "CASE WHEN state IS NULL THEN 0::UBIGINT ELSE hash(state) END AS is_now"
        for table, part in (("history", "''"), ("parts", "part")):
            if table == "parts" and not fold_record.part_change_count:
                continue
            rest = " AND part <> ''" if table == "parts" else ""
            texts.append(
                f"SELECT {late} AS late, bucket, key, {part} AS part, {side.coordinate_sql} AS spot, change,"
                f" {state} FROM (FROM {workspace.table_sql(connection, table)} WHERE {condition}{rest}) {of}"
            )
    return " UNION ALL ".join(texts)


def _candidate_condition(a: History, b: History) -> str:
    """Return an SQL condition for the documents that may differ; empty if all may differ."""
    keys: list[str] = []
    lineages = [_history_lineage(a), _history_lineage(b)]
    shared = {h.scope for h, _ in lineages[0]} & {h.scope for h, _ in lineages[1]}
    if not shared:
        return ""
    for lineage in lineages:
        for history, forked_history in lineage:
            if history.scope in shared:
                break
            if forked_history is None or forked_history.affects_all_documents:
                return ""
            keys.append(forked_history.affected_keys_sql)
    if not keys:
        return " AND false"
    return f" AND key IN ({' UNION ALL '.join(keys)})"


def _history_lineage(history: History) -> list[tuple[History, ForkedHistory | None]]:
    """Return a history and the histories on which it builds, nearest first."""
    found: list[tuple[History, ForkedHistory | None]] = []
    forked_history: ForkedHistory | None = find_forked_history(history)
    while True:
        found.append((history, forked_history))
        if forked_history is None:
            return found
        history = forked_history.parent
        forked_history = find_forked_history(history)
