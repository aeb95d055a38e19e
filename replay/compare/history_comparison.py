"""Comparing two histories of one log: of two timelines, of two projections, or of two versions of one.

A document differs where its states do, whatever rows they are kept in: one that was deleted, and one
that was never born, are both not there. Large documents are compared part by part. States are told
apart by hashes of 64 bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from replay.compare.alignment import Aligned
from replay.document.diff import Difference, differences
from replay.history.changes import Change, value_of
from replay.history.fork_base import Forked, forked
from replay.history.history import History
from storage.coordinates.event_labels import Label
from storage.quoting import quoted


@dataclass(frozen=True)
class Differing:
    """A document that differs, and the first event after which it does."""

    key: str
    coordinate: int
    """Of that event; see `replay.compare.alignment`."""
    diverged: Label


@dataclass(frozen=True)
class Comparison:
    """Two histories at a position of each."""

    a: History
    b: History
    aligned: Aligned
    at: tuple[int, int]
    """The positions: of the first on its timeline, and of the second on its own."""
    differing: Sequence[Differing]
    """In the order in which they diverged."""

    def states(self, key: str) -> tuple[str | None, str | None]:
        """What a document is in both, as JSON; None where it isn't there."""
        a, b = self._changes(key)
        return None if a is None else a.state, None if b is None else b.state

    def differences(self, key: str) -> list[Difference]:
        """How a document differs: before in the first, after in the second."""
        return differences(*map(value_of, self._changes(key)))

    def _changes(self, key: str) -> tuple[Change | None, Change | None]:
        return self.a.state(key, self.at[0]), self.b.state(key, self.at[1])


# Rows that both have cancel each other out, so most documents are known to be the same by one pass
# that keeps a number a document. Only the others' states are put in order. (A hash of two values is
# all but their sum, so it is hashed once more: else two differences would cancel out too.)
_ODD = """
CREATE OR REPLACE TEMP TABLE odd AS SELECT bucket, key, part FROM ({rows}) GROUP BY ALL
HAVING bit_xor(hash(hash(spot, is_now))) <> 0
"""
_DIFFERING = """
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


def compare(a: History, b: History, at: tuple[int, int] | None = None) -> Comparison:
    """The documents that differ at a position of each, or at the end of both; scans what may differ.

    Where nothing else is said, two histories of different lengths are compared as far as both go.
    """
    aligned = Aligned(a.workspace, b.workspace)
    if at is None:
        at = _ends(a, b)
    found, _ = parted(a, b, aligned, at)
    differing = [Differing(key, place, aligned.label(place)) for key, place in found]
    return Comparison(a, b, aligned, at, differing)


def parted(
    a: History,
    b: History,
    aligned: Aligned,
    at: tuple[int, int],
    *,
    healed: bool = False,
    most: int | None = None,
) -> tuple[list[tuple[str, int]], int]:
    """The keys of documents that differ at a position of each, with the coordinates from which on
    they do, in their order: `most` of them, and how many there are. With those that have `healed`
    by then, if they are wanted."""
    which = "min(spot) IS NOT NULL" if healed else "bool_or(differs)"
    with a.workspace.file.reading() as connection:
        connection.execute(_ODD.format(rows=_rows(connection, a, b, aligned, at)))
        rows = _rows(connection, a, b, aligned, at, of="SEMI JOIN odd USING (bucket)")
        limit = "ALL" if most is None else int(most)
        query = _DIFFERING.format(rows=rows, which=which, most=limit)
        found = connection.execute(query).fetchall()
    return [(key, spot) for key, spot, _ in found], found[0][2] if found else 0


def _ends(a: History, b: History) -> tuple[int, int]:
    if a.workspace.timeline == b.workspace.timeline:
        end = min(a.folded.folded, b.folded.folded) - 1
        return end, end
    return a.folded.folded - 1, b.folded.folded - 1


def _rows(
    connection: duckdb.DuckDBPyConnection,
    a: History,
    b: History,
    aligned: Aligned,
    at: tuple[int, int],
    of: str = "",
) -> str:
    """SQL for the rows of both; `of` joins them to those that are wanted."""
    only = _candidates(a, b)
    texts = []
    for history, side, until, late in (
        (a, aligned.a, at[0], False),
        (b, aligned.b, at[1], True),
    ):
        workspace, folded = history.workspace, history.folded
        mine = (
            f"projection = {int(folded.number)} AND timeline = {quoted(folded.timeline)}"
            f' AND "offset" <= {int(until)}{only}'
        )
        state = "CASE WHEN state IS NULL THEN 0::UBIGINT ELSE hash(state) END AS is_now"
        for table, part in (("history", "''"), ("parts", "part")):
            if table == "parts" and not folded.parts:
                continue
            rest = " AND part <> ''" if table == "parts" else ""
            texts.append(
                f"SELECT {late} AS late, bucket, key, {part} AS part, {side.sql} AS spot, change,"
                f" {state} FROM (FROM {workspace.table(connection, table)} WHERE {mine}{rest}) {of}"
            )
    return " UNION ALL ".join(texts)


def _candidates(a: History, b: History) -> str:
    """A condition for the documents that may differ at all; empty where all may."""
    keys: list[str] = []
    lines = [_line(a), _line(b)]
    shared = {(h.folded.number, h.folded.timeline) for h, _ in lines[0]} & {
        (h.folded.number, h.folded.timeline) for h, _ in lines[1]
    }
    if not shared:
        return ""
    for line in lines:
        for history, stands in line:
            if (history.folded.number, history.folded.timeline) in shared:
                break
            if stands is None or stands.everything:
                return ""
            keys.append(stands.touched)
    if not keys:
        return " AND false"
    return f" AND key IN ({' UNION ALL '.join(keys)})"


def _line(history: History) -> list[tuple[History, Forked | None]]:
    """A history, and those that it stands on in turn."""
    found: list[tuple[History, Forked | None]] = []
    stands: Forked | None = forked(history)
    while True:
        found.append((history, stands))
        if stands is None:
            return found
        history = stands.parent
        stands = forked(history)
