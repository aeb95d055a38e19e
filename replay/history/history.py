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
from replay.document.diff import encode_value
from replay.document.paging import split_changes
from replay.document.paths import DocumentPath
from replay.history.catalogue import FoldRecord
from replay.history.changes import Change, DocumentSnapshot, WholeDocumentChange, value_after
from replay.history.fold_reports import FOLD_CONDITION, FoldReports
from replay.history.large_document import LargeDocument, LargeDocumentChange, build_sparse_value
from storage.db.query import fetch_rows
from storage.quoting import quote_literal
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


_PAGE_DOCUMENTS = 2_048
"""Documents that are read at once; they may be long."""
_MAX_LARGE_DOCUMENTS = 4
"""Large documents whose values are kept."""
_LONG_DIGITS_PATTERN = r"[0-9.]{17,}|\.[0-9]*0([^0-9]|$)"


class History(FoldReports):
    """Questions about the states of one projection on one timeline, and what else it told."""

    def __init__(self, workspace: Workspace, fold_record: FoldRecord) -> None:
        super().__init__(workspace, fold_record)
        # What stands before the first event that is known are states, and no changes.
        self._known_offsets_sql = f'"offset" >= {int(fold_record.first_offset)}'
        self._large_documents: dict[str, LargeDocument] = {}

    @property
    def has_long_numbers(self) -> bool:
        """Whether states may hold numbers with more digits than a double, as Decimals do."""
        return self.fold_record.round_trips_json is False

    @property
    def is_routed(self) -> bool:
        """Whether the projection chooses its keys, so that the documents are others than the streams."""
        with self._workspace.reading() as connection:
            found = connection.execute(
                f"FROM routes WHERE {FOLD_CONDITION} LIMIT 1", self._fold_parameters
            ).fetchall()
        return bool(found)

    def document_at(self, key: str, offset: int) -> DocumentSnapshot:
        """A document at a position, with what it was before its last change."""
        rows = self._load_changes(
            f'key = ? AND "offset" <= {int(offset)} ORDER BY "offset" DESC LIMIT 2', key
        )
        now, before = (*rows, None, None)[:2]
        return DocumentSnapshot(now, before)

    def state_at(self, key: str, offset: int) -> Change | None:
        """The state of a key at a position, or None where it was never born by then."""
        return self.document_at(key, offset).current

    def states_after(self, changes: Sequence[tuple[int, str]]) -> dict[tuple[int, str], str | None]:
        """The states that changes made, by (offset, key), for a page of them; of a large document
        the parts that were changed."""
        if not changes:
            return {}
        offset_list = ", ".join(str(int(offset)) for offset, _ in changes)
        condition = f'{FOLD_CONDITION} AND "offset" IN ({offset_list})'
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT "offset", key, state FROM history WHERE {condition}', self._fold_parameters
            ).fetchall()
            part_rows = (
                []
                if not self.fold_record.part_change_count
                else connection.execute(
                    f'SELECT "offset", key, part, state FROM parts WHERE {condition} AND state IS NOT NULL'
                    " ORDER BY part",
                    self._fold_parameters,
                ).fetchall()
            )
        states = {(offset, key): state for offset, key, state in rows}
        changed: dict[tuple[int, str], dict[str, str | None]] = {}
        requested = set(changes)
        for offset, key, part, state in part_rows:
            if (offset, key) in requested:
                changed.setdefault((offset, key), {})[part] = state
        return states | {
            change_key: encode_value(build_sparse_value(found))
            for change_key, found in changed.items()
        }

    def value_changes(
        self, key: str, path: DocumentPath, *, after: int, until: int, backwards: bool
    ) -> Iterator[tuple[int, Any, Any]]:
        """Changes of a document that may have changed the value at a path: offset, and the values
        before and after; of a large document only the parts of them that were changed. Scans the
        document's changes."""
        maybe = "true"
        if path:
            value, earlier = (f"json_extract({name}, $path)" for name in ("state", "earlier"))
            # Digits beyond a double's, and zeros at the end, are lost by extracting.
            both = "concat(state, ' ', earlier)"
            maybe = f"{value} IS DISTINCT FROM {earlier} OR regexp_matches({both}, '{_LONG_DIGITS_PATTERN}')"
        if self.fold_record.part_change_count:
            # One that was not in parts before has all of them changed.
            maybe = f"NOT (in_parts AND was_in_parts) AND (in_parts OR was_in_parts OR {maybe})"
        parameters = {
            "projection": self.fold_record.projection_number,
            "timeline": self.fold_record.timeline,
            "key": key,
        }
        query = (
            'SELECT "offset", change, in_parts, state, before, was_in_parts, earlier'
            ' FROM (SELECT "offset", change, in_parts, state, lag(state) OVER so_far AS earlier,'
            " coalesce(lag(in_parts) OVER so_far, false) AS was_in_parts, previous AS before"
            " FROM history WHERE projection = $projection"
            f" AND timeline = $timeline AND bucket = {compute_bucket(key)} AND key = $key"
            ' AND "offset" BETWEEN $before AND $last WINDOW so_far AS (ORDER BY "offset"))'
            f' WHERE "offset" >= $first AND {self._known_offsets_sql} AND ({maybe})'
            f' ORDER BY "offset" {"DESC" if backwards else "ASC"}'
        )
        if path:
            parameters["path"] = paths.format_pointer(path)

        def whole() -> Iterator[tuple[int, Any, Any]]:
            with self._workspace.reading() as connection:
                document_rows = (
                    f"FROM history WHERE {FOLD_CONDITION} AND bucket = {compute_bucket(key)} AND key = ?"
                    f' AND "offset" <= {int(until)}'
                )

                def asked(what: str) -> list[Any]:
                    found = connection.execute(f"SELECT {what}", [*self._fold_parameters, key])
                    return [value for (value,) in found.fetchall()]

                def length(first: int) -> float:
                    return (
                        asked(f'avg(strlen(state)) {document_rows} AND "offset" >= {first}')[0]
                        or 0.0
                    )

                offsets = asked(f'"offset" {document_rows} ORDER BY "offset"')
                for page in split_changes(offsets, after, length, backwards=backwards):
                    rows = connection.execute(query, {**parameters, **page}).fetchall()
                    for offset, number, in_parts, state, before, was_in_parts, earlier in rows:
                        old = self._make_change(key, -1, before, was_in_parts, earlier)
                        new = self._make_change(key, offset, number, in_parts, state)
                        yield offset, value_after(old), value_after(new)

        if not self.fold_record.part_change_count:
            return whole()
        part_changes = self._large_document(key).value_changes(
            path, after=after, until=until, backwards=backwards
        )
        offset = itemgetter(0)
        both_kinds = heapq.merge(whole(), part_changes, key=offset, reverse=backwards)
        return (next(steps) for _, steps in groupby(both_kinds, key=offset))

    def next_change(self, key: str, offset: int) -> int | None:
        """The offset of the document's next change."""
        rows = self._load_changes(
            f'key = ? AND "offset" > {int(offset)} ORDER BY "offset" LIMIT 1', key
        )
        return rows[0].offset if rows else None

    def previous_change(self, key: str, offset: int) -> int | None:
        """The offset of the document's change before."""
        rows = self._load_changes(
            f'key = ? AND "offset" < {int(offset)} AND {self._known_offsets_sql} ORDER BY'
            ' "offset" DESC LIMIT 1',
            key,
        )
        return rows[0].offset if rows else None

    def changes_by_event(self, first: int, last: int) -> dict[int, dict[str, DocumentSnapshot]]:
        """What each event of a stretch of the log changed: offset to key to moment."""
        first = max(first, self.fold_record.first_offset)
        with self._workspace.reading() as connection:
            rows = connection.execute(
                'SELECT key, "offset", change, in_parts, state, previous FROM history'
                f' WHERE {FOLD_CONDITION} AND "offset" BETWEEN ? AND ? ORDER BY "offset", key',
                [*self._fold_parameters, first, last],
            ).fetchall()
            keys = list({key for key, *_ in rows})
            earlier = connection.execute(
                f'WITH last AS (SELECT key, max("offset") AS "offset" FROM history WHERE {FOLD_CONDITION}'
                f" AND bucket IN ({', '.join(str(compute_bucket(key)) for key in keys) or 'NULL'})"
                f" AND key IN ({', '.join('?' * len(keys)) or 'NULL'})"
                f' AND "offset" < {int(first)} GROUP BY key)'
                ' SELECT key, "offset", change, in_parts, state FROM history'
                f' JOIN last USING (key, "offset") WHERE {FOLD_CONDITION}',
                [*self._fold_parameters, *keys, *self._fold_parameters],
            ).fetchall()
            steps: dict[str, dict[int, int]] = {}
            for key, _, number, in_parts, _, previous in rows:
                if in_parts:
                    steps.setdefault(key, {})[number] = -1 if previous is None else previous
            for key, previous in steps.items():
                self._large_document(key).cache_steps(connection, first, last, previous)
        before = {key: self._make_change(key, *change) for key, *change in earlier}
        snapshots: dict[int, dict[str, DocumentSnapshot]] = {}
        for key, offset, number, in_parts, state, _ in rows:
            now = self._make_change(key, offset, number, in_parts, state)
            snapshots.setdefault(offset, {})[key] = DocumentSnapshot(now, before.get(key))
            before[key] = now
        return snapshots

    def keys_changed_at(self, offset: int) -> list[str]:
        """The documents that one event changed."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT key FROM history WHERE {FOLD_CONDITION} AND "offset" = ? AND'
                f" {self._known_offsets_sql} ORDER BY key",
                [*self._fold_parameters, offset],
            ).fetchall()
        return [key for (key,) in rows]

    def documents(self, first: int, count: int) -> list[DocumentRow]:
        """Documents in the order of their birth, by ordinal; an older position has fewer of them."""
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                f"SELECT ordinal, key, born FROM documents WHERE {FOLD_CONDITION}"
                " AND ordinal >= ? AND ordinal < ? ORDER BY ordinal",
                [*self._fold_parameters, first, first + count],
            )
        return [DocumentRow(**row) for row in rows]

    def count_documents_at(self, offset: int) -> int:
        """How many documents had been born at a position."""
        with self._workspace.reading() as connection:
            row = connection.execute(
                f"SELECT coalesce(max(ordinal) + 1, 0) FROM documents WHERE {FOLD_CONDITION} AND born <= ?",
                [*self._fold_parameters, offset],
            ).fetchone()
        return int(row[0]) if row else 0

    def ordinal_of(self, key: str) -> int | None:
        """The document's place among all; scans the keys."""
        with self._workspace.reading() as connection:
            row = connection.execute(
                f"SELECT ordinal FROM documents WHERE {FOLD_CONDITION} AND key = ?",
                [*self._fold_parameters, key],
            ).fetchone()
        return None if row is None else int(row[0])

    def keys_containing(self, text: str, limit: int) -> list[DocumentRow]:
        """Documents whose key contains the text, in any case; scans the keys."""
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                f"SELECT ordinal, key, born FROM documents WHERE {FOLD_CONDITION}"
                f" AND contains(lower(key), lower(?)) ORDER BY ordinal LIMIT {int(limit)}",
                [*self._fold_parameters, text],
            )
        return [DocumentRow(**row) for row in rows]

    def scan_documents_at(self, offset: int) -> "Iterator[pa.RecordBatch]":
        """Every document that exists at a position: batches of `key`, `offset`, `state`; scans."""
        with self._workspace.reading() as connection:
            relation = connection.sql(
                f'SELECT h.key, h."offset", h.state FROM documents AS d JOIN ({self.latest_states_sql(offset)})'
                " AS h ON h.key = d.key"
                " WHERE d.projection = ? AND d.timeline = ? AND h.state IS NOT NULL"
                " ORDER BY d.ordinal",
                params=self._fold_parameters,
            )
            yield from relation.to_arrow_reader(_PAGE_DOCUMENTS)

    def scan_documents_changed_between(
        self, start: int, end: int
    ) -> Iterator[tuple[str, str | None, str | None]]:
        """Documents that changed from one position to another: key, state there, state here.

        The earlier position comes first. Scans the states up to the later one.
        """
        with self._workspace.reading() as connection:
            relation = connection.sql(
                f"WITH after AS ({self.latest_states_sql(end)}), before AS ({self.latest_states_sql(start)})"
                " SELECT after.key AS key, before.state AS old, after.state AS new"
                " FROM after LEFT JOIN before ON before.key = after.key"
                f' WHERE after."offset" > {int(start)} ORDER BY after."offset", after.key'
            )
            for batch in relation.to_arrow_reader(_PAGE_DOCUMENTS):
                for row in batch.to_pylist():
                    yield row["key"], row["old"], row["new"]

    def _load_changes(self, condition: str, key: str) -> list[Change]:
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT "offset", change, in_parts, state FROM history WHERE {FOLD_CONDITION}'
                f" AND bucket = {compute_bucket(key)} AND {condition}",
                [*self._fold_parameters, key],
            ).fetchall()
        return [self._make_change(key, *row) for row in rows]

    def _make_change(
        self, key: str, offset: int, number: int, in_parts: bool, state: str | None
    ) -> Change:
        return (
            LargeDocumentChange(offset, number, self._large_document(key))
            if in_parts
            else WholeDocumentChange(offset, state)
        )

    def _large_document(self, key: str) -> LargeDocument:
        found = self._large_documents.get(key)
        if found is None:
            number, timeline = self._fold_parameters
            found = self._large_documents[key] = LargeDocument(
                self._workspace, number, timeline, compute_bucket(key), key
            )
            for other in list(self._large_documents)[:-_MAX_LARGE_DOCUMENTS]:
                self._large_documents.pop(other, None)
        return found

    def latest_states_sql(self, offset: int) -> str:
        """SQL for the last state of each document by an offset: `key`, `offset`, `state`."""
        condition = (
            f"(h.projection = {int(self.fold_record.projection_number)}) AND (h.timeline ="
            f" {quote_literal(self._fold_parameters[1])})"
            f' AND (h."offset" <= {int(offset)})'
        )
        # A deleted document's state is NULL, which arg_max would pass over.
        latest = (
            'SELECT h.key, max(h."offset") AS "offset", arg_max(struct_pack(s := h.state,'
            ' p := h.in_parts), h."offset") AS latest'
            f" FROM history AS h WHERE {condition} GROUP BY h.key"
        )
        if not self.fold_record.part_change_count:
            return f'SELECT key, "offset", latest.s AS state FROM ({latest})'
        return (
            'SELECT d.key, d."offset", CASE WHEN d.latest.p THEN w.state ELSE d.latest.s END AS state'
            f" FROM ({latest}) AS d LEFT JOIN"
            f" ({document_parts.documents_sql(f'({condition})')}) AS w ON w.key = d.key"
        )


def compute_bucket(key: str) -> int:
    """The bucket that a key's changes are sorted by, as DuckDB's `md5_number` gives it."""
    digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "little")
