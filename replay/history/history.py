"""The history of one projection on one timeline: every state of every document.

The state of a key at a position is that of its last change at or before the position; every other
query follows from this rule. States are JSON text; None stands for a document that doesn't exist.
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
    """A document as a row of a list."""

    ordinal: int
    """The number of documents that were created before it."""
    key: str
    created_at: int
    """The offset of the event that created it."""


_PAGE_DOCUMENTS = 2_048
"""Documents in one batch of a scan; few, because they may be long."""
_MAX_LARGE_DOCUMENTS = 4
"""Large documents whose values are cached."""
_LONG_DIGITS_PATTERN = r"[0-9.]{17,}|\.[0-9]*0([^0-9]|$)"


class History(FoldReports):
    """Queries for the states of one projection on one timeline, and for its fold reports."""

    def __init__(self, workspace: Workspace, fold_record: FoldRecord) -> None:
        super().__init__(workspace, fold_record)
        # Rows before the first known event are initial states and not changes.
        self._known_offsets_sql = f'"offset" >= {int(fold_record.first_offset)}'
        self._large_documents: dict[str, LargeDocument] = {}

    @property
    def has_long_numbers(self) -> bool:
        """Whether states may hold numbers with more digits than a double, such as Decimals."""
        return self.fold_record.round_trips_json is False

    @property
    def is_routed(self) -> bool:
        """Whether the projection chooses its keys, so its documents are not the streams of the events."""
        with self._workspace.reading() as connection:
            found = connection.execute(
                f"FROM routes WHERE {FOLD_CONDITION} LIMIT 1", self._fold_parameters
            ).fetchall()
        return bool(found)

    def document_at(self, key: str, offset: int) -> DocumentSnapshot:
        """Return a document at a position, with the state before its last change."""
        rows = self._load_changes(
            f'key = ? AND "offset" <= {int(offset)} ORDER BY "offset" DESC LIMIT 2', key
        )
        now, before = (*rows, None, None)[:2]
        return DocumentSnapshot(now, before)

    def state_at(self, key: str, offset: int) -> Change | None:
        """Return the last change of a key at a position; None if the document has none by then."""
        return self.document_at(key, offset).current

    def states_after(self, changes: Sequence[tuple[int, str]]) -> dict[tuple[int, str], str | None]:
        """Return the states after a page of changes, by (offset, key).

        The state of a large document contains only the parts that the change changed.
        """
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
        """Yield changes that may have changed the value at a path: offset, document before and after.

        Covers events after offset `after` up to `until`. Of a large document, before and after contain
        only the changed parts. Scans the document's changes.
        """
        maybe = "true"
        if path:
            value, earlier = (f"json_extract({name}, $path)" for name in ("state", "earlier"))
            # Extracting loses digits beyond those of a double, and trailing zeros.
            both = "concat(state, ' ', earlier)"
            maybe = f"{value} IS DISTINCT FROM {earlier} OR regexp_matches({both}, '{_LONG_DIGITS_PATTERN}')"
        if self.fold_record.part_change_count:
            # If the state before was not in parts, every part counts as changed.
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

                def select(sql: str) -> list[Any]:
                    rows = connection.execute(f"SELECT {sql}", [*self._fold_parameters, key])
                    return [value for (value,) in rows.fetchall()]

                def average_bytes_from(first: int) -> float:
                    return (
                        select(f'avg(strlen(state)) {document_rows} AND "offset" >= {first}')[0]
                        or 0.0
                    )

                offsets = select(f'"offset" {document_rows} ORDER BY "offset"')
                for page in split_changes(offsets, after, average_bytes_from, backwards=backwards):
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
        """Return the offset of the document's next change after an offset; None if there is none."""
        rows = self._load_changes(
            f'key = ? AND "offset" > {int(offset)} ORDER BY "offset" LIMIT 1', key
        )
        return rows[0].offset if rows else None

    def previous_change(self, key: str, offset: int) -> int | None:
        """Return the offset of the document's last change before an offset; None if there is none."""
        rows = self._load_changes(
            f'key = ? AND "offset" < {int(offset)} AND {self._known_offsets_sql} ORDER BY'
            ' "offset" DESC LIMIT 1',
            key,
        )
        return rows[0].offset if rows else None

    def changes_by_event(self, first: int, last: int) -> dict[int, dict[str, DocumentSnapshot]]:
        """Return the changes of the events from `first` to `last`, by offset and then by key."""
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
        """Return the keys of the documents that one event changed, sorted."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT key FROM history WHERE {FOLD_CONDITION} AND "offset" = ? AND'
                f" {self._known_offsets_sql} ORDER BY key",
                [*self._fold_parameters, offset],
            ).fetchall()
        return [key for (key,) in rows]

    def documents(self, first: int, count: int) -> list[DocumentRow]:
        """Return `count` documents in the order of their creation, from ordinal `first` on.

        The documents at an older position are a prefix of this order.
        """
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                f"SELECT ordinal, key, born AS created_at FROM documents WHERE {FOLD_CONDITION}"
                " AND ordinal >= ? AND ordinal < ? ORDER BY ordinal",
                [*self._fold_parameters, first, first + count],
            )
        return [DocumentRow(**row) for row in rows]

    def count_documents_at(self, offset: int) -> int:
        """Return how many documents had been created at a position, including deleted ones."""
        with self._workspace.reading() as connection:
            row = connection.execute(
                f"SELECT coalesce(max(ordinal) + 1, 0) FROM documents WHERE {FOLD_CONDITION} AND born <= ?",
                [*self._fold_parameters, offset],
            ).fetchone()
        return int(row[0]) if row else 0

    def ordinal_of(self, key: str) -> int | None:
        """Return the document's ordinal; None if there is no such key. Scans the keys."""
        with self._workspace.reading() as connection:
            row = connection.execute(
                f"SELECT ordinal FROM documents WHERE {FOLD_CONDITION} AND key = ?",
                [*self._fold_parameters, key],
            ).fetchone()
        return None if row is None else int(row[0])

    def keys_containing(self, text: str, limit: int) -> list[DocumentRow]:
        """Return documents whose key contains a text, ignoring case. Scans the keys."""
        with self._workspace.reading() as connection:
            rows = fetch_rows(
                connection,
                f"SELECT ordinal, key, born AS created_at FROM documents WHERE {FOLD_CONDITION}"
                f" AND contains(lower(key), lower(?)) ORDER BY ordinal LIMIT {int(limit)}",
                [*self._fold_parameters, text],
            )
        return [DocumentRow(**row) for row in rows]

    def scan_documents_at(self, offset: int) -> "Iterator[pa.RecordBatch]":
        """Yield all documents that exist at a position, in batches of `key`, `offset`, `state`.

        Scans the history.
        """
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
        """Yield the documents that changed between two positions: key, state at `start`, state at `end`.

        `start` is the earlier position. Scans the states up to `end`.
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
        """Return SQL for the last state of each document at an offset: `key`, `offset`, `state`."""
        condition = (
            f"(h.projection = {int(self.fold_record.projection_number)}) AND (h.timeline ="
            f" {quote_literal(self._fold_parameters[1])})"
            f' AND (h."offset" <= {int(offset)})'
        )
        # The struct is there because arg_max skips NULL, the state of a deleted document.
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
    """Return the bucket by which a key's changes are sorted: `md5_number(key) & 4294967295` in DuckDB."""
    digest = hashlib.md5(key.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "little")
