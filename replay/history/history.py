"""A history, as everything above reads it: every state of every document of one projection.

The state of a key at a position is its last change at or before it; everything else follows from
that. States are JSON text; None is a document that isn't there.
"""

import hashlib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from replay.document import paths
from replay.document.diff import encode
from replay.document.paging import pages
from replay.document.paths import Path
from replay.history.catalogue import Folded
from replay.history.changes import Change, Moment, Whole, value_of
from replay.history.fold_reports import MINE, Reported
from replay.history.large_document import InParts, Large, sparse
from storage.db.query import rows as rows_of
from storage.quoting import quoted
from storage.workspace import document_parts
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class DocumentRow:
    """A document as a list shows it."""

    ordinal: int
    """How many documents were born before it."""
    key: str
    born: int


_PAGE = 2_048
"""Documents that are read at once; they may be long."""
_LARGE_AT_HAND = 4
"""Large documents whose values are kept."""
_DIGITS = r"[0-9.]{17,}|\.[0-9]*0([^0-9]|$)"


class History(Reported):
    """Questions about the states of one projection on one timeline, and what else it told."""

    def __init__(self, workspace: Workspace, folded: Folded) -> None:
        super().__init__(workspace, folded)
        # What stands before the first event that is known are states, and no changes.
        self._real = f'"offset" >= {int(folded.first)}'
        self._larges: dict[str, Large] = {}

    @property
    def long_numbers(self) -> bool:
        """Whether states may hold numbers with more digits than a double, as Decimals do."""
        return self.folded.plain is False

    @property
    def routed(self) -> bool:
        """Whether the projection chooses its keys, so that the documents are others than the streams."""
        with self._workspace.reading() as connection:
            found = connection.execute(f"FROM routes WHERE {MINE} LIMIT 1", self._mine).fetchall()
        return bool(found)

    def moment(self, key: str, offset: int) -> Moment:
        """A document at a position, with what it was before its last change."""
        rows = self._changes(
            f'key = ? AND "offset" <= {int(offset)} ORDER BY "offset" DESC LIMIT 2', key
        )
        now, before = (*rows, None, None)[:2]
        return Moment(now, before)

    def state(self, key: str, offset: int) -> Change | None:
        """The state of a key at a position, or None where it was never born by then."""
        return self.moment(key, offset).now

    def states_of(self, changes: Sequence[tuple[int, str]]) -> dict[tuple[int, str], str | None]:
        """The states that changes made, by (offset, key), for a page of them; of a large document
        the parts that were changed."""
        if not changes:
            return {}
        at = ", ".join(str(int(offset)) for offset, _ in changes)
        mine = f'{MINE} AND "offset" IN ({at})'
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT "offset", key, state FROM history WHERE {mine}', self._mine
            ).fetchall()
            of_parts = (
                []
                if not self.folded.parts
                else connection.execute(
                    f'SELECT "offset", key, part, state FROM parts WHERE {mine} AND state IS NOT NULL'
                    " ORDER BY part",
                    self._mine,
                ).fetchall()
            )
        states = {(offset, key): state for offset, key, state in rows}
        changed: dict[tuple[int, str], dict[str, str | None]] = {}
        wanted = set(changes)
        for offset, key, part, state in of_parts:
            if (offset, key) in wanted:
                changed.setdefault((offset, key), {})[part] = state
        return states | {place: encode(sparse(found)) for place, found in changed.items()}

    def steps(
        self, key: str, path: Path, *, after: int, until: int, backwards: bool
    ) -> Iterator[tuple[int, Any, Any]]:
        """Changes of a document that may have changed the value at a path: offset, and the values
        before and after; of a large document only the parts of them that were changed. Scans the
        document's changes."""
        maybe = "true"
        if path:
            value, earlier = (f"json_extract({name}, $path)" for name in ("state", "earlier"))
            # Digits beyond a double's, and zeros at the end, are lost by extracting.
            both = "concat(state, ' ', earlier)"
            maybe = f"{value} IS DISTINCT FROM {earlier} OR regexp_matches({both}, '{_DIGITS}')"
        if self.folded.parts:
            # One that was not in parts before has all of them changed.
            maybe = f"NOT (in_parts AND was_in_parts) AND (in_parts OR was_in_parts OR {maybe})"
        parameters = {
            "projection": self.folded.number,
            "timeline": self.folded.timeline,
            "key": key,
        }
        query = (
            'SELECT "offset", change, in_parts, state, before, was_in_parts, earlier'
            ' FROM (SELECT "offset", change, in_parts, state, lag(state) OVER so_far AS earlier,'
            " coalesce(lag(in_parts) OVER so_far, false) AS was_in_parts, previous AS before"
            " FROM history WHERE projection = $projection"
            f" AND timeline = $timeline AND bucket = {bucket(key)} AND key = $key"
            ' AND "offset" BETWEEN $before AND $last WINDOW so_far AS (ORDER BY "offset"))'
            f' WHERE "offset" >= $first AND {self._real} AND ({maybe})'
            f' ORDER BY "offset" {"DESC" if backwards else "ASC"}'
        )
        if path:
            parameters["path"] = paths.pointer(path)

        def whole() -> Iterator[tuple[int, Any, Any]]:
            with self._workspace.reading() as connection:
                its = (
                    f"FROM history WHERE {MINE} AND bucket = {bucket(key)} AND key = ?"
                    f' AND "offset" <= {int(until)}'
                )

                def asked(what: str) -> list[Any]:
                    found = connection.execute(f"SELECT {what}", [*self._mine, key])
                    return [value for (value,) in found.fetchall()]

                def length(first: int) -> float:
                    return asked(f'avg(strlen(state)) {its} AND "offset" >= {first}')[0] or 0.0

                offsets = asked(f'"offset" {its} ORDER BY "offset"')
                for page in pages(offsets, after, length, backwards=backwards):
                    rows = connection.execute(query, {**parameters, **page}).fetchall()
                    for offset, number, in_parts, state, before, was_in_parts, earlier in rows:
                        old = self._change(key, -1, before, was_in_parts, earlier)
                        new = self._change(key, offset, number, in_parts, state)
                        yield offset, value_of(old), value_of(new)

        if not self.folded.parts:
            return whole()
        there = self._large(key).touches(path, after=after, until=until, backwards=backwards)
        offset = itemgetter(0)
        both_kinds = heapq.merge(whole(), there, key=offset, reverse=backwards)
        return (next(steps) for _, steps in groupby(both_kinds, key=offset))

    def next_change(self, key: str, offset: int) -> int | None:
        """The offset of the document's next change."""
        rows = self._changes(f'key = ? AND "offset" > {int(offset)} ORDER BY "offset" LIMIT 1', key)
        return rows[0].offset if rows else None

    def previous_change(self, key: str, offset: int) -> int | None:
        """The offset of the document's change before."""
        rows = self._changes(
            f'key = ? AND "offset" < {int(offset)} AND {self._real} ORDER BY "offset" DESC LIMIT 1',
            key,
        )
        return rows[0].offset if rows else None

    def window(self, first: int, last: int) -> dict[int, dict[str, Moment]]:
        """What each event of a stretch of the log changed: offset to key to moment."""
        first = max(first, self.folded.first)
        with self._workspace.reading() as connection:
            found = connection.execute(
                'SELECT key, "offset", change, in_parts, state, previous FROM history'
                f' WHERE {MINE} AND "offset" BETWEEN ? AND ? ORDER BY "offset", key',
                [*self._mine, first, last],
            ).fetchall()
            keys = list({key for key, *_ in found})
            earlier = connection.execute(
                f'WITH last AS (SELECT key, max("offset") AS "offset" FROM history WHERE {MINE}'
                f" AND bucket IN ({', '.join(str(bucket(key)) for key in keys) or 'NULL'})"
                f" AND key IN ({', '.join('?' * len(keys)) or 'NULL'})"
                f' AND "offset" < {int(first)} GROUP BY key)'
                ' SELECT key, "offset", change, in_parts, state FROM history'
                f' JOIN last USING (key, "offset") WHERE {MINE}',
                [*self._mine, *keys, *self._mine],
            ).fetchall()
            steps: dict[str, dict[int, int]] = {}
            for key, _, number, in_parts, _, previous in found:
                if in_parts:
                    steps.setdefault(key, {})[number] = -1 if previous is None else previous
            for key, previous in steps.items():
                self._large(key).keep(connection, first, last, previous)
        before = {key: self._change(key, *change) for key, *change in earlier}
        moments: dict[int, dict[str, Moment]] = {}
        for key, offset, number, in_parts, state, _ in found:
            now = self._change(key, offset, number, in_parts, state)
            moments.setdefault(offset, {})[key] = Moment(now, before.get(key))
            before[key] = now
        return moments

    def keys_changed_at(self, offset: int) -> list[str]:
        """The documents that one event changed."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT key FROM history WHERE {MINE} AND "offset" = ? AND {self._real} ORDER BY key',
                [*self._mine, offset],
            ).fetchall()
        return [key for (key,) in rows]

    def documents(self, first: int, count: int) -> list[DocumentRow]:
        """Documents in the order of their birth, by ordinal; an older position has fewer of them."""
        with self._workspace.reading() as connection:
            rows = rows_of(
                connection,
                f"SELECT ordinal, key, born FROM documents WHERE {MINE}"
                " AND ordinal >= ? AND ordinal < ? ORDER BY ordinal",
                [*self._mine, first, first + count],
            )
        return [DocumentRow(**row) for row in rows]

    def born_by(self, offset: int) -> int:
        """How many documents had been born at a position."""
        with self._workspace.reading() as connection:
            row = connection.execute(
                f"SELECT coalesce(max(ordinal) + 1, 0) FROM documents WHERE {MINE} AND born <= ?",
                [*self._mine, offset],
            ).fetchone()
        return int(row[0]) if row else 0

    def ordinal_of(self, key: str) -> int | None:
        """The document's place among all; scans the keys."""
        with self._workspace.reading() as connection:
            row = connection.execute(
                f"SELECT ordinal FROM documents WHERE {MINE} AND key = ?", [*self._mine, key]
            ).fetchone()
        return None if row is None else int(row[0])

    def keys_containing(self, text: str, limit: int) -> list[DocumentRow]:
        """Documents whose key contains the text, in any case; scans the keys."""
        with self._workspace.reading() as connection:
            rows = rows_of(
                connection,
                f"SELECT ordinal, key, born FROM documents WHERE {MINE}"
                f" AND contains(lower(key), lower(?)) ORDER BY ordinal LIMIT {int(limit)}",
                [*self._mine, text],
            )
        return [DocumentRow(**row) for row in rows]

    def all_at(self, offset: int) -> "Iterator[pa.RecordBatch]":
        """Every document that exists at a position: batches of `key`, `offset`, `state`; scans."""
        with self._workspace.reading() as connection:
            relation = connection.sql(
                f'SELECT h.key, h."offset", h.state FROM documents AS d JOIN ({self.latest_at(offset)})'
                " AS h ON h.key = d.key"
                " WHERE d.projection = ? AND d.timeline = ? AND h.state IS NOT NULL"
                " ORDER BY d.ordinal",
                params=self._mine,
            )
            yield from relation.to_arrow_reader(_PAGE)

    def changed_between(self, start: int, end: int) -> Iterator[tuple[str, str | None, str | None]]:
        """Documents that changed from one position to another: key, state there, state here.

        The earlier position comes first. Scans the states up to the later one.
        """
        with self._workspace.reading() as connection:
            relation = connection.sql(
                f"WITH after AS ({self.latest_at(end)}), before AS ({self.latest_at(start)})"
                " SELECT after.key AS key, before.state AS old, after.state AS new"
                " FROM after LEFT JOIN before ON before.key = after.key"
                f' WHERE after."offset" > {int(start)} ORDER BY after."offset", after.key'
            )
            for batch in relation.to_arrow_reader(_PAGE):
                for row in batch.to_pylist():
                    yield row["key"], row["old"], row["new"]

    def _changes(self, condition: str, key: str) -> list[Change]:
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT "offset", change, in_parts, state FROM history WHERE {MINE}'
                f" AND bucket = {bucket(key)} AND {condition}",
                [*self._mine, key],
            ).fetchall()
        return [self._change(key, *row) for row in rows]

    def _change(
        self, key: str, offset: int, number: int, in_parts: bool, state: str | None
    ) -> Change:
        return InParts(offset, number, self._large(key)) if in_parts else Whole(offset, state)

    def _large(self, key: str) -> Large:
        found = self._larges.get(key)
        if found is None:
            number, timeline = self._mine
            found = self._larges[key] = Large(self._workspace, number, timeline, bucket(key), key)
            for other in list(self._larges)[:-_LARGE_AT_HAND]:
                self._larges.pop(other, None)
        return found

    def latest_at(self, offset: int) -> str:
        """SQL for the last state of each document by an offset: `key`, `offset`, `state`."""
        mine = (
            f"(h.projection = {int(self.folded.number)}) AND (h.timeline = {quoted(self._mine[1])})"
            f' AND (h."offset" <= {int(offset)})'
        )
        # A deleted document's state is NULL, which arg_max would pass over.
        latest = (
            'SELECT h.key, max(h."offset") AS "offset", arg_max(struct_pack(s := h.state,'
            ' p := h.in_parts), h."offset") AS latest'
            f" FROM history AS h WHERE {mine} GROUP BY h.key"
        )
        if not self.folded.parts:
            return f'SELECT key, "offset", latest.s AS state FROM ({latest})'
        return (
            'SELECT d.key, d."offset", CASE WHEN d.latest.p THEN w.state ELSE d.latest.s END AS state'
            f" FROM ({latest}) AS d LEFT JOIN ({document_parts.assembled(f'({mine})')}) AS w ON w.key = d.key"
        )


def bucket(key: str) -> int:
    """The bucket that a key's changes are sorted by, as DuckDB's `md5_number` gives it."""
    digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "little")
