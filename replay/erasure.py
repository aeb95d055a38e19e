"""Erases events or values from a workspace, for people who must delete data.

An erasure covers the log, forks, recorded calls, bookmarks, watches and rejects. It deletes all
histories, because any state may contain an erased value; they are folded again on demand. An erased
event keeps its offset and its time, so no other event is renumbered. Other texts of the log that
contain an erased value are counted, not changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.query import event_filter
from replay.value_search import Truths, ValueSearch
from storage.errors import QueryError
from storage.folds import fold_rows
from storage.ingest.mapping import FieldMapping
from storage.ingest.redaction import Redaction, ValueRemoval
from storage.log import event_rows, irregularities
from storage.log.tombstones import EMPTIED_FIELDS, REMOVED_TYPE
from storage.workspace import file_rewrite, schema
from storage.workspace.file_rewrite import RowTransform
from storage.workspace.metadata import read_metadata, write_metadata
from storage.workspace.schema import OnRemoval, TableSchema
from storage.workspace.workspace import Workspace

OffsetArray = np.ndarray[Any, np.dtype[np.int64]]

_BATCH_ROWS = 50_000


@dataclass(frozen=True)
class ErasureRequest:
    """The events or values to erase."""

    streams: Sequence[str] = ()
    condition: str | None = None
    """A condition on events. The erasure covers only the events of `streams` that match it, or all
    matching events if `streams` is empty."""
    value_paths: Sequence[str] = ()
    """Paths such as `data.email` whose values become null."""
    redacted_paths: Sequence[str] = ()
    """Paths whose values become a keyed hash, as with `refold load --redact`."""

    @property
    def removes_values(self) -> bool:
        """Whether to erase values; False erases whole events."""
        return bool(self.value_paths or self.redacted_paths)


@dataclass
class ErasureResult:
    """The number of erased or changed things, by the table that holds them."""

    events: int = 0
    """Events that were erased, or whose values were."""
    calls: int = 0
    edits: int = 0
    """Edits of forks that were changed or deleted."""
    bookmarks: int = 0
    watches: int = 0
    notes: int = 0
    rejects: int = 0
    folds: int = 0
    """Deleted histories, which are folded again on demand."""
    remains: dict[str, int] = field(default_factory=dict)
    """Rows left that contain an erased value: their number by table."""
    unsearched: int = 0
    """The number of erased values if they are too many to search for in other events, else 0."""


def select_offsets(workspace: Workspace, request: ErasureRequest) -> OffsetArray | None:
    """Return the offsets of the events to erase from; None means all events.

    Raises `QueryError` if the request is empty or no event matches it.
    """
    if not (request.streams or request.condition or request.removes_values):
        raise QueryError("Nothing to remove. Give --stream, --where, --value or --redact.")
    if not request.streams and request.condition is None:
        return None
    stream_offsets: list[int] = []
    matching = None
    if request.condition is not None:
        matching = np.asarray(
            event_filter.find_offsets_by_condition(workspace, request.condition), np.int64
        )
        if not len(matching):
            raise QueryError(f"No event matches {request.condition!r}.")
        if not request.streams:
            return matching
    for stream in request.streams:
        found = event_rows.find_offsets_of_streams(workspace, [stream])
        if not found:
            raise QueryError(f"No event has the stream {stream!r}.")
        stream_offsets.extend(found)
    offsets = np.unique(np.asarray(stream_offsets, np.int64))
    if matching is None:
        return offsets
    selected: OffsetArray = np.intersect1d(offsets, matching)
    if not len(selected):
        raise QueryError(f"No event of these streams matches {request.condition!r}.")
    return selected


def erase(
    workspace: Workspace,
    request: ErasureRequest,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> ErasureResult:
    """Rewrite the workspace without the requested events or values, and return the counts.

    Raises `QueryError` if no event or value matches the request, `SourceError` for an invalid path,
    and `CancelledError`; after an error the workspace is unchanged.
    """
    erasure = _Erasure(workspace, request)
    file_rewrite.rewrite_workspace(
        workspace.main_workspace,
        erasure.table_changes(),
        erasure.finish,
        on_progress=on_progress,
        is_cancelled=is_cancelled,
    )
    return erasure.result


class _Erasure:
    """One pass over all tables; events come first, because other tables may repeat their values."""

    def __init__(self, workspace: Workspace, request: ErasureRequest) -> None:
        self._request = request
        self._offsets = select_offsets(workspace, request)
        self._removed_texts: set[str] = set(() if request.removes_values else request.streams)
        self._removal = ValueRemoval(request.value_paths, seen_values=self._removed_texts)
        self._redaction = Redaction(request.redacted_paths, seen_values=self._removed_texts)
        self._cached_search: ValueSearch | None = None
        self._rewritten_offsets: list[OffsetArray] = []
        """Offsets of the changed events."""
        self._ids: set[str] = set()
        """Ids of the changed events."""
        self._correlations: set[str] = set()
        """Correlation ids that only erased events have."""
        self._kept_body_ids: set[str] = set()
        """Ids of the bodies of the calls that stay."""
        self.result = ErasureResult()
        with workspace.main_workspace.reading() as connection:
            self.result.folds = fold_rows.count_folds(connection)
            # Collect the values of edits first: tables that are rewritten before `edits` must also be
            # searched for values that only an edit contains.
            for batch in connection.sql("FROM edits").to_arrow_reader(_BATCH_ROWS):
                rows = pa.Table.from_batches([batch])
                _, touched = self._erase_values(rows, self._concerned_edits(rows))
                self._remember_ids(rows, touched)
            if not request.removes_values and self._offsets is not None:
                connection.register("removed", pa.table({"at": self._offsets}))
                gone = 'SELECT correlation_id FROM events WHERE "offset"'
                found = connection.execute(
                    f"{gone} IN (FROM removed) EXCEPT {gone} NOT IN (FROM removed)"
                )
                self._correlations.update(id_ for (id_,) in found.fetchall() if id_ is not None)
                connection.unregister("removed")

    def table_changes(self) -> Mapping[str, RowTransform | None]:
        """Return the transform of each table, from its columns in `storage.workspace.schema`; None
        empties the table."""
        own = {
            "events": self._erase_events,
            "rejects": self._erase_rejects,
            "calls": self._erase_calls,
            "bodies": self._erase_bodies,
            "timelines": self._erase_notes,
            "edits": self._erase_edits,
            "bookmarks": self._erase_bookmarks,
            "watches": self._erase_watches,
        }
        changes: dict[str, RowTransform | None] = {}
        for table in schema.TABLES:
            if table.is_emptied:
                changes[table.name] = None
            elif table.name in own:
                changes[table.name] = own[table.name]
            elif set(table.values.values()) != {OnRemoval.COUNT}:
                changes[table.name] = partial(self._as_declared, table)
        return changes

    def finish(self, new: duckdb.DuckDBPyConnection) -> None:
        """Update the irregularities and the mapping, and count the rows that still contain a value.

        Raises `QueryError` if no event and no edit changed.
        """
        if not (self.result.events or self.result.edits):
            paths = " or ".join((*self._request.value_paths, *self._request.redacted_paths))
            raise QueryError(f"None of these events has a value at {paths}.")
        if self._offsets is None:
            self._redact_later_loads(new)
        irregularities.record_irregularities(new, 0)
        answerless = "body IS NOT NULL AND body NOT IN (SELECT body FROM bodies)"
        ((count,),) = new.execute(f"DELETE FROM calls WHERE {answerless}").fetchall()
        self.result.calls += count
        text_search = self._text_search
        if not text_search.few:
            self.result.unsearched = len(self._removed_texts)
            return
        for table in schema.TABLES:
            columns = table.columns_to(OnRemoval.COUNT)
            if not columns:
                continue
            selected = ", ".join(f'"{name}"' for name in columns)
            reader = new.sql(f"SELECT {selected} FROM {table.name}").to_arrow_reader(_BATCH_ROWS)
            count = sum(
                int(text_search.rows(pa.Table.from_batches([batch]), columns).sum())
                for batch in reader
            )
            if count:
                self.result.remains[table.name] = count

    def _redact_later_loads(self, new: duckdb.DuckDBPyConnection) -> None:
        """Redact these paths in later loads too: add them to the mapping of the workspace."""
        mapping_json = read_metadata(new, "mapping")
        if mapping_json is not None:
            mapping = FieldMapping.from_json(mapping_json)
            paths = (*mapping.redacted, *self._request.value_paths, *self._request.redacted_paths)
            with_redaction = replace(mapping, redacted=tuple(dict.fromkeys(paths)))
            write_metadata(new, "mapping", with_redaction.to_json())

    # Tables

    def _erase_events(self, rows: pa.Table) -> pa.Table:
        offsets = rows["offset"].to_numpy()
        mask = np.ones(len(offsets), bool)
        if self._offsets is not None:
            mask = np.isin(offsets, self._offsets)
        changed, touched = self._erase_values(rows, mask)
        self._rewritten_offsets.append(offsets[touched])
        self._remember_ids(rows, touched)
        self.result.events += int(touched.sum())
        return changed

    def _erase_edits(self, rows: pa.Table) -> pa.Table:
        changed, touched = self._erase_values(rows, self._concerned_edits(rows))
        is_removed = self._repeating(rows, schema.EDITS, OnRemoval.DELETE_ROW)
        self.result.edits += int((touched | is_removed).sum())
        return changed.filter(pa.array(~is_removed))

    def _remember_ids(self, rows: pa.Table, touched: Truths) -> None:
        """Remember the ids of these events, because calls name the event that caused them."""
        ids = rows["id"].filter(pa.array(touched)).to_pylist()
        self._ids.update(id_ for id_ in ids if id_ is not None)

    def _repeating(self, rows: pa.Table, table: TableSchema, on_removal: OnRemoval) -> Truths:
        """For each row: whether a column with this `on_removal` contains an erased value."""
        return self._text_search.rows(rows, table.columns_to(on_removal))

    def _as_declared(self, table: TableSchema, rows: pa.Table) -> pa.Table:
        """Return the rows with erased values cleared, or without the row, as the schema declares."""
        clear = pa.array(self._repeating(rows, table, OnRemoval.CLEAR))
        for name in table.columns_to(OnRemoval.CLEAR):
            rows = _replace_column(rows, name, pc.if_else(clear, None, rows[name]))
        gone = self._repeating(rows, table, OnRemoval.DELETE_ROW)
        return rows.filter(pa.array(~gone))

    def _concerned_edits(self, rows: pa.Table) -> Truths:
        """For each edit: whether it contains an event that the erasure covers."""
        has_event: Truths = pc.is_in(
            rows["kind"], pa.array(["replace", "insert", "move"])
        ).to_numpy()
        if self._offsets is None:
            return has_event
        is_of_stream = pc.is_in(
            rows["stream"], pa.array(self._request.streams, pa.string())
        ).to_numpy()
        selected_offsets = pa.array(self._offsets)
        replaced = pc.equal(rows["kind"], "replace").to_numpy() & (
            pc.equal(rows["inserted"], 0).to_numpy()
        )
        at = replaced & pc.is_in(rows["offset"], selected_offsets).to_numpy()
        found: Truths = has_event & (
            is_of_stream | at | pc.is_in(rows["moved_offset"], selected_offsets).to_numpy()
        )
        return found

    def _erase_values(self, rows: pa.Table, mask: Truths) -> tuple[pa.Table, Truths]:
        """Return the rows with the masked events erased, and for each row whether it changed."""
        if not self._request.removes_values:
            where = pa.array(mask)
            for name in set(EMPTIED_FIELDS) & set(rows.column_names):
                rows = _replace_column(rows, name, pc.if_else(where, None, rows[name]))
            return _replace_column(
                rows, "type", pc.if_else(where, REMOVED_TYPE, rows["type"])
            ), mask
        touched = np.zeros(rows.num_rows, bool)
        at = np.flatnonzero(mask)
        for name in {*self._removal.steps_by_field, *self._redaction.steps_by_field}:
            texts = rows[name].take(pa.array(at)).to_pylist()
            new = [
                self._redaction.redact_field(name, self._removal.redact_field(name, text))
                for text in texts
            ]
            changed = np.fromiter((a != b for a, b in zip(texts, new, strict=True)), bool, len(at))
            touched[at[changed]] = True
            if changed.any():
                whole = np.asarray(rows[name].to_pylist(), object)
                whole[at] = new
                rows = _replace_column(rows, name, pa.array(whole, rows[name].type))
        return rows, touched

    def _erase_rejects(self, rows: pa.Table) -> pa.Table:
        contains_removed = self._repeating(rows, schema.REJECTS, OnRemoval.CLEAR)
        self.result.rejects += int(contains_removed.sum())
        where = pa.array(contains_removed)
        rows = _replace_column(rows, "text", pc.if_else(where, None, rows["text"]))
        return _replace_column(rows, "reason", pc.if_else(where, "removed", rows["reason"]))

    def _erase_calls(self, rows: pa.Table) -> pa.Table:
        is_removed = self._repeating(rows, schema.CALLS, OnRemoval.DELETE_ROW)
        is_removed |= self._is_of_rewritten_event(rows["offset"])
        is_removed |= _is_in(rows["event_id"], self._ids)
        is_removed |= _is_in(rows["correlation_id"], self._ids | self._correlations)
        self.result.calls += int(is_removed.sum())
        kept = rows.filter(pa.array(~is_removed))
        self._kept_body_ids.update(filter(None, kept["body"].to_pylist()))
        return kept

    def _erase_bodies(self, rows: pa.Table) -> pa.Table:
        rows = rows.filter(pc.is_in(rows["body"], pa.array(self._kept_body_ids, pa.string())))
        return rows.filter(pa.array(~self._repeating(rows, schema.BODIES, OnRemoval.DELETE_ROW)))

    def _is_of_rewritten_event(self, offsets: pa.ChunkedArray) -> Truths:
        rewritten = pa.array(np.concatenate([np.empty(0, np.int64), *self._rewritten_offsets]))
        found: Truths = pc.is_in(offsets, rewritten).to_numpy()
        return found

    def _erase_notes(self, rows: pa.Table) -> pa.Table:
        contains_removed = self._repeating(rows, schema.TIMELINES, OnRemoval.CLEAR)
        self.result.notes += int(contains_removed.sum())
        return _replace_column(
            rows, "note", pc.if_else(pa.array(contains_removed), "", rows["note"])
        )

    def _erase_bookmarks(self, rows: pa.Table) -> pa.Table:
        is_removed = self._repeating(rows, schema.BOOKMARKS, OnRemoval.DELETE_ROW)
        if not self._request.removes_values:
            is_removed |= self._is_of_rewritten_event(rows["offset"])
        self.result.bookmarks += int(is_removed.sum())
        return rows.filter(pa.array(~is_removed))

    def _erase_watches(self, rows: pa.Table) -> pa.Table:
        is_removed = self._repeating(rows, schema.WATCHES, OnRemoval.DELETE_ROW)
        self.result.watches += int(is_removed.sum())
        return rows.filter(pa.array(~is_removed))

    @property
    def _text_search(self) -> ValueSearch:
        """The search for erased values; first used after all events were rewritten."""
        if self._cached_search is None:
            self._cached_search = ValueSearch(self._removed_texts)
        return self._cached_search


def _replace_column(rows: pa.Table, name: str, column: Any) -> pa.Table:
    index = rows.schema.get_field_index(name)
    return rows.set_column(
        index, rows.schema.field(name), pc.cast(column, rows.schema.field(name).type)
    )


def _is_in(column: pa.ChunkedArray, ids: set[str]) -> Truths:
    """For each row: whether it has one of these ids."""
    found: Truths = pc.is_in(column, pa.array(sorted(ids), pa.string())).to_numpy()
    return found
