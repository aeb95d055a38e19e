"""Writes a fork's fold: the rows that differ, and totals that include the parent's shared rows.

Readers see a fork's fold only when it is complete, because the row in `forked` that links it to the
parent's fold is written last.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from replay.event_fold.fold_run import FoldRun, build_projection_row
from replay.event_fold.history_writer import ConcurrentFoldError, HistoryWriter, read_flush_id
from replay.forks.affected_documents import AffectedDocuments
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.query.number_columns import NumberColumns
from replay.worker_host.batch_result import BatchResult
from storage.coordinates.fold_scope import FoldScope
from storage.folds import fold_rows, fork_base_rows, projection_rows
from storage.folds.decision_rows import DecisionRows
from storage.folds.document_rows import DocumentRows
from storage.folds.failure_rows import FailureRows
from storage.folds.fold_insertion import FoldInsertion
from storage.folds.fork_base_rows import ForkBase
from storage.folds.history_rows import HistoryRows
from storage.folds.key_selection import KeySelection
from storage.folds.report_rows import UpcastRows
from storage.log import event_rows
from storage.timelines import fork_store
from storage.timelines.forked_workspace import ForkedWorkspace, list_fork_values

_MAX_LISTED_BIRTHS = 500
"""Up to this many documents created or gone on the fork, only these are listed; above it, all
documents since the first difference are listed."""


class ForkHistoryWriter(HistoryWriter):
    """Writes the differing part of a fork's fold; readers see it after `finish`."""

    def __init__(
        self,
        run: FoldRun,
        forked_workspace: ForkedWorkspace,
        base_record: FoldRecord,
        ready_header: dict[str, Any],
        affected: AffectedDocuments,
    ) -> None:
        super().__init__(
            forked_workspace,
            0,
            run.gateway_bridge.recordings_version,
            run.gateway_bridge.broker.recordings.redactor.redact_text,
            generation=run.generation,
        )
        self._run = run
        self._forked_workspace = forked_workspace
        self._base_record = base_record
        self._affected = affected
        self._number_columns = NumberColumns("[]")  # not worth it for a fork's few states
        self.unrouted_failures: set[int] = set()
        """Positions of events that failed before they reached a document."""
        self.upcast_types: dict[int, str | None] = {}
        """The types of upcast events, by position."""
        self._is_registered = False
        self._is_finished = False
        self.projection_row = build_projection_row(run.reference, ready_header)
        self._written = 0
        """Rows of `history` written so far."""
        with forked_workspace.main_workspace.reading() as connection:
            self._first_change = _load_next_change(connection, base_record)
            number = projection_rows.find_projection_number(
                connection, self.projection_row.name, self.projection_row.code_hash
            )
            if number is not None:
                self._flushed = read_flush_id(
                    connection, FoldScope(number, forked_workspace.timeline)
                )
        self.change_count = self._first_change
        self.next_offset = affected.since_position

    def add_batch(self, batch_result: BatchResult, end_offset: int) -> None:
        if not self._affected.affects_all_documents and (
            batch_result.printed or batch_result.reads
        ):
            batch_result = self._without_parent_reports(batch_result)
        super().add_batch(batch_result, end_offset)
        self.unrouted_failures |= {
            one["offset"] for one in batch_result.failures if one["key"] is None
        }
        self.upcast_types |= {one["offset"]: one["type"] for one in batch_result.upcasts}

    def _without_parent_reports(self, batch_result: BatchResult) -> BatchResult:
        """Return the result without reports that the parent's fold has too.

        The worker asks for the keys of unchanged events again, so it repeats their reports.
        """
        own = {one.position for one in self._forked_workspace.position_map.own_events}

        def new(reports: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
            return [one for one in reports if one["key"] is not None or one["offset"] in own]

        return replace(
            batch_result, printed=new(batch_result.printed), reads=new(batch_result.reads)
        )

    @property
    def own_change_count(self) -> int:
        return self.change_count - self._first_change

    def finish(self, seconds: float) -> None:
        """Write the remaining rows, and make the fold visible to readers."""
        self._is_finished = True
        self.next_offset = self._run.event_count
        self._totals = _ForkTotals(self._forked_workspace, self._base_record, self._affected, self)
        self.flush(seconds)

    def new_document_keys(self) -> list[tuple[str, int]]:
        """Return key and position of each document that was created on the fork, in order."""
        tables = [table.select(["key", "born"]) for table in self._new_documents]
        return [(r["key"], r["born"]) for table in tables for r in table.to_pylist()]

    def _begin_flush(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._is_registered:
            self._refuse_overtaken(connection)
            return
        is_new = fork_store.save_fork(
            connection, list_fork_values(self._forked_workspace), self._forked_workspace.before
        )
        if catalogue.is_refolded(connection, self._base_record):
            raise ConcurrentFoldError
        self._projection_number = projection_rows.register_projection(
            connection, self.projection_row
        )
        if read_flush_id(connection, self.scope) != self._flushed:
            raise ConcurrentFoldError
        if not is_new:  # an earlier fold, or rows that a killed fold left
            fold_rows.delete_fold(
                connection, self._projection_number, self._forked_workspace.timeline
            )
        self._is_registered = True

    def _refuse_overtaken(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise `ConcurrentFoldError` if another process deleted the rows written so far."""
        fork_store.refuse_stale(connection, list_fork_values(self._forked_workspace))
        row_count = fold_rows.count_written_changes(connection, self.scope)
        if row_count != self._written or catalogue.is_refolded(connection, self._base_record):
            raise ConcurrentFoldError

    def _write_rows(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._written += sum(rows.num_rows for rows in self._history)
        super()._write_rows(connection)

    def _write_documents(self, insertion: FoldInsertion) -> None:
        """Write nothing: documents are written at the end, when their ordinals are known."""

    def _write_fold_record(self, connection: duckdb.DuckDBPyConnection) -> None:
        if not self._is_finished:
            return
        totals = self._totals
        FoldInsertion(connection, self.scope).insert_documents(totals.document_rows)
        base = ForkBase(
            self._base_record.projection_number,
            self._affected.since_position,
            self._affected.affects_all_documents,
            len(self._affected.keys),
            self.change_count,
            totals.births_json,
        )
        fork_base_rows.write_fork_base(connection, self.scope, base, self._affected.keys)
        numbered = self.change_count
        self.change_count = totals.change_count
        self.document_count, self.failure_count, self.call_count = (
            totals.document_count,
            totals.failure_count,
            totals.call_count,
        )
        self.part_change_count += self._base_record.part_change_count
        self.unhandled_by_type, self.skipped_events = (
            totals.unhandled_by_type,
            sum(totals.unhandled_by_type.values()),
        )
        super()._write_fold_record(connection)
        self.change_count = numbered


def _load_next_change(connection: duckdb.DuckDBPyConnection, base_record: FoldRecord) -> int:
    """Return the number after the last change of a fold and of the folds that it is based on."""
    base = fork_base_rows.read_fork_base(connection, base_record.scope)
    return base_record.change_count if base is None else base.next_change


class _ForkTotals:
    """The totals of a fork's fold, including the rows that it shares with its parent's fold."""

    def __init__(
        self,
        forked_workspace: ForkedWorkspace,
        base_record: FoldRecord,
        affected: AffectedDocuments,
        writer: ForkHistoryWriter,
    ) -> None:
        self._forked_workspace = forked_workspace
        self._base_record = base_record
        self._affected = affected
        self._since_position = affected.parent_since_position
        self._selection = KeySelection(None if affected.affects_all_documents else affected.keys)
        self._hidden = forked_workspace.position_map.hidden_parent_positions
        parent, scope = forked_workspace.parent, base_record.scope
        self._document_rows = DocumentRows(parent, scope)
        self._failure_rows = FailureRows(parent, scope)
        self._upcast_rows = UpcastRows(parent, scope)
        replaced = (self._since_position, self._selection, self._hidden)
        changed = HistoryRows(parent, scope).count_changes(*replaced[:2])
        self.change_count = base_record.change_count - changed + writer.own_change_count
        failed = self._failure_rows.count_since(*replaced) if base_record.failure_count else 0
        self.failure_count = base_record.failure_count - failed + writer.failure_count
        called = DecisionRows(parent, scope).count_since(*replaced) if base_record.call_count else 0
        self.call_count = base_record.call_count - called + writer.call_count
        self.unhandled_by_type = self._count_unhandled(writer)
        self._number_documents(writer.new_document_keys())

    def _count_unhandled(self, writer: "ForkHistoryWriter") -> Counter[str]:
        names = set(self._base_record.unhandled_by_type) | set(writer.unhandled_by_type)
        if not names:
            return Counter()
        counts: Counter[str] = Counter()
        if self._affected.affects_all_documents:
            counts.update(
                event_rows.count_by_type(
                    self._forked_workspace.parent,
                    self._base_record.unhandled_by_type,
                    self._since_position,
                )
            )
            counts.update(writer.unhandled_by_type)
            return counts
        counts.update(self._base_record.unhandled_by_type)
        unrouted = self._failure_rows.find_unrouted(self._hidden)
        types = self._upcast_rows.read_types(self._hidden)
        counts.subtract(
            str(types.get(event.offset, event.type))
            for event in self._affected.hidden_events
            if event.offset not in unrouted
        )
        counts.update(
            str(writer.upcast_types.get(one.position, one.event.type))
            for one in self._forked_workspace.position_map.own_events
            if one.position not in writer.unrouted_failures
        )
        return Counter({name: n for name, n in counts.items() if name in names and n > 0})

    def _number_documents(self, new_documents: list[tuple[str, int]]) -> None:
        """Determine the documents that are created on the fork or gone from it, and their ordinals."""
        overlay = self._forked_workspace.position_map
        before = self._document_rows.read_created_since(self._since_position, self._selection)
        parent_births = {
            row.key: (row.ordinal, overlay.from_parent(row.created_at)) for row in before
        }
        removed_keys = {
            key
            for key, (_, place) in parent_births.items()
            if (key, place) not in set(new_documents)
        }
        added = [
            (k, place)
            for k, place in new_documents
            if k not in parent_births or parent_births[k][1] != place
        ]
        self.document_count = self._base_record.document_count - len(removed_keys) + len(added)
        if (
            self._affected.affects_all_documents
            or max(len(removed_keys), len(added)) > _MAX_LISTED_BIRTHS
        ):
            self.births_json = None
            self.document_rows = self._number_all_documents(new_documents)
            return
        removed = sorted(parent_births[key][0] for key in removed_keys)
        rows = []
        for n, (key, position) in enumerate(added):
            earlier = self._document_rows.count_until(overlay.parent_position_before(position))
            ordinal = earlier - sum(1 for r in removed if r < earlier) + n
            rows.append((ordinal, key, position, earlier))
        self.births_json = json.dumps({"removed": removed, "before": [row[3] for row in rows]})
        self.document_rows = _build_document_table([row[:3] for row in rows])

    def _number_all_documents(self, new_documents: list[tuple[str, int]]) -> pa.Table:
        """Return all documents created since the first difference, with their ordinals, in order."""
        overlay = self._forked_workspace.position_map
        others = [
            (row.key, overlay.from_parent(row.created_at))
            for row in self._document_rows.read_others_created_since(
                self._since_position, self._selection
            )
        ]
        first = self._document_rows.count_until(self._since_position - 1)
        ordered = sorted([*others, *new_documents], key=lambda row: row[1])
        return _build_document_table(
            [(first + n, key, position) for n, (key, position) in enumerate(ordered)]
        )


def _build_document_table(rows: Sequence[tuple[int, str, int]]) -> pa.Table:
    ordinals, keys, born = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "ordinal": pa.array(ordinals, pa.int64()),
            "key": pa.array(keys, pa.string()),
            "born": pa.array(born, pa.int64()),
        }
    )
