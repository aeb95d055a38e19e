"""The history of one projection on one timeline: every state of every document.

The state of a key at a position is that of its last change at or before the position; every other
query follows from this rule. States are JSON text; None stands for a document that doesn't exist.
"""

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from replay.document import paths
from replay.document.diff import encode_value
from replay.document.paths import DocumentPath
from replay.history.catalogue import FoldRecord
from replay.history.changes import Change, DocumentSnapshot, WholeDocumentChange, value_after
from replay.history.fold_reports import FoldReports
from replay.history.large_document import LargeDocument, LargeDocumentChange, build_sparse_value
from storage.folds.document_rows import DocumentRow, DocumentRows
from storage.folds.history_rows import ChangeRow, HistoryRows
from storage.folds.part_rows import DocumentPartRows, PartRows
from storage.folds.route_rows import RouteRows
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["DocumentRow", "History"]

_MAX_LARGE_DOCUMENTS = 4
"""Large documents whose values are cached."""


class History(FoldReports):
    """Queries for the states of one projection on one timeline, and for its fold reports."""

    def __init__(self, workspace: Workspace, fold_record: FoldRecord) -> None:
        super().__init__(workspace, fold_record)
        self.history_rows = HistoryRows(workspace, self.scope, fold_record.first_offset)
        self.part_rows = PartRows(workspace, self.scope)
        self.route_rows = RouteRows(workspace, self.scope)
        self._document_rows = DocumentRows(workspace, self.scope)
        self._large_documents: dict[str, LargeDocument] = {}

    @property
    def has_long_numbers(self) -> bool:
        """Whether states may hold numbers with more digits than a double, such as Decimals."""
        return self.fold_record.round_trips_json is False

    @property
    def has_parts(self) -> bool:
        """Whether any document is stored in parts."""
        return self.fold_record.part_change_count > 0

    @property
    def is_routed(self) -> bool:
        """Whether the projection chooses its keys, so its documents are not the streams of the events."""
        return self.route_rows.has_rows()

    def document_at(self, key: str, offset: int) -> DocumentSnapshot:
        """Return a document at a position, with the state before its last change."""
        rows = self.history_rows.read_last_changes(key, offset, 2)
        now, before = (*(self._make_change(key, row) for row in rows), None, None)[:2]
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
        offsets = [offset for offset, _ in changes]
        # Keep the file open for both queries, so that no other process writes between them.
        with self._workspace.main_workspace.reading():
            states = self.history_rows.read_states(offsets)
            part_states = self.part_rows.read_states(offsets) if self.has_parts else []
        changed: dict[tuple[int, str], dict[str, str | None]] = {}
        requested = set(changes)
        for offset, key, part, state in part_states:
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
        whole = self._whole_value_changes(key, path, after, until, backwards=backwards)
        if not self.has_parts:
            return whole
        part_changes = self._large_document(key).value_changes(
            path, after=after, until=until, backwards=backwards
        )
        offset = itemgetter(0)
        both_kinds = heapq.merge(whole, part_changes, key=offset, reverse=backwards)
        return (next(steps) for _, steps in groupby(both_kinds, key=offset))

    def _whole_value_changes(
        self, key: str, path: DocumentPath, after: int, until: int, *, backwards: bool
    ) -> Iterator[tuple[int, Any, Any]]:
        for row in self.history_rows.iterate_steps(
            key,
            paths.format_pointer(path),
            after=after,
            until=until,
            backwards=backwards,
            may_be_in_parts=self.has_parts,
        ):
            before = ChangeRow(
                -1, -1 if row.previous is None else row.previous, row.was_in_parts, row.state_before
            )
            old, new = self._make_change(key, before), self._make_change(key, row.change)
            yield row.change.offset, value_after(old), value_after(new)

    def next_change(self, key: str, offset: int) -> int | None:
        """Return the offset of the document's next change after an offset; None if there is none."""
        return self.history_rows.find_next_offset(key, offset)

    def previous_change(self, key: str, offset: int) -> int | None:
        """Return the offset of the document's last change before an offset; None if there is none."""
        return self.history_rows.find_previous_offset(key, offset)

    def changes_by_event(self, first: int, last: int) -> dict[int, dict[str, DocumentSnapshot]]:
        """Return the changes of the events from `first` to `last`, by offset and then by key."""
        first = max(first, self.fold_record.first_offset)
        # Keep the file open for all queries, so that no other process writes between them.
        with self._workspace.main_workspace.reading():
            rows = self.history_rows.read_changes_between(first, last)
            keys = list({row.key for row in rows})
            earlier = self.history_rows.read_last_change_of_each(keys, first)
            steps: dict[str, dict[int, int]] = {}
            for row in rows:
                if row.change.in_parts:
                    previous = -1 if row.previous is None else row.previous
                    steps.setdefault(row.key, {})[row.change.number] = previous
            for key, previous_numbers in steps.items():
                self._large_document(key).cache_steps(first, last, previous_numbers)
        before = {key: self._make_change(key, change) for key, change in earlier.items()}
        snapshots: dict[int, dict[str, DocumentSnapshot]] = {}
        for row in rows:
            now = self._make_change(row.key, row.change)
            snapshots.setdefault(row.change.offset, {})[row.key] = DocumentSnapshot(
                now, before.get(row.key)
            )
            before[row.key] = now
        return snapshots

    def keys_changed_at(self, offset: int) -> list[str]:
        """Return the keys of the documents that one event changed, sorted."""
        return self.history_rows.find_keys_at(offset)

    def documents(self, first: int, count: int) -> list[DocumentRow]:
        """Return `count` documents in the order of their creation, from ordinal `first` on.

        The documents at an older position are a prefix of this order.
        """
        return self._document_rows.read_page(first, count)

    def count_documents_at(self, offset: int) -> int:
        """Return how many documents had been created at a position, including deleted ones."""
        return self._document_rows.count_until(offset)

    def ordinal_of(self, key: str) -> int | None:
        """Return the document's ordinal; None if there is no such key. Scans the keys."""
        return self._document_rows.find_ordinal(key)

    def keys_containing(self, text: str, limit: int) -> list[DocumentRow]:
        """Return documents whose key contains a text, ignoring case. Scans the keys."""
        return self._document_rows.find_containing(text, limit)

    def scan_documents_at(self, offset: int) -> "Iterator[pa.RecordBatch]":
        """Yield all documents that exist at a position, in batches of `key`, `offset`, `state`.

        Scans the history.
        """
        return self.history_rows.iterate_documents_at(offset, may_be_in_parts=self.has_parts)

    def scan_documents_changed_between(
        self, start: int, end: int
    ) -> Iterator[tuple[str, str | None, str | None]]:
        """Yield the documents that changed between two positions: key, state at `start`, state at `end`.

        `start` is the earlier position. Scans the states up to `end`.
        """
        return self.history_rows.iterate_differences(start, end, may_be_in_parts=self.has_parts)

    def latest_states_sql(self, offset: int) -> str:
        """Return SQL for the last state of each document at an offset: `key`, `offset`, `state`."""
        return self.history_rows.latest_states_sql(offset, may_be_in_parts=self.has_parts)

    def _make_change(self, key: str, row: ChangeRow) -> Change:
        return (
            LargeDocumentChange(row.offset, row.number, self._large_document(key))
            if row.in_parts
            else WholeDocumentChange(row.offset, row.state)
        )

    def _large_document(self, key: str) -> LargeDocument:
        found = self._large_documents.get(key)
        if found is None:
            part_rows = DocumentPartRows(self._workspace, self.scope, key)
            found = self._large_documents[key] = LargeDocument(part_rows, self._workspace.path, key)
            for other in list(self._large_documents)[:-_MAX_LARGE_DOCUMENTS]:
                self._large_documents.pop(other, None)
        return found
