"""Folds a relation into a history: over the whole log if it declares "own events of", or over a span.

Like the fold of handlers, it writes its changes every few seconds, so that they can be read at once,
and continues after them.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pyarrow as pa

from replay.event_fold.fold_run import FoldRun
from replay.event_fold.history_writer import ConcurrentFoldError, HistoryWriter
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.projection.offset_span import OffsetSpan
from replay.query_projections import change_numbering, per_event
from replay.query_projections.engines import Relation, open_relation
from replay.query_projections.evaluation import RelationEvaluation, open_evaluation
from replay.query_projections.per_key import OwnEventsEvaluator
from storage.errors import CancelledError, ProjectionError
from storage.log.positions import START

_FLUSH_SECONDS = 3.0
"""The time between two writes, in seconds."""


def fold_relation(run: FoldRun, span: OffsetSpan | None, *, force: bool) -> None:
    """Fold the missing part; see `replay.fold.fold_projection`."""
    while True:
        try:
            with open_relation(
                run.reference,
                run.limits.patience_seconds,
                run.limits.memory_bytes,
                _build_cancellation_check(run),
            ) as relation:
                return _RelationFold(run, relation).run(span, force=force)
        except ConcurrentFoldError:
            force = False  # another process folds the same projection: continue where it ended


def _build_cancellation_check(run: FoldRun) -> Callable[[], None]:
    def check() -> None:
        if run.is_cancelled():
            raise CancelledError("Stopped; the states so far are kept.")

    return check


class _RelationFold:
    """One fold of a relation."""

    def __init__(self, run: FoldRun, relation: Relation) -> None:
        self._run = run
        self._relation = relation
        self._projection_name = run.reference.name
        self._last_flush_time = time.monotonic()

    def run(self, span: OffsetSpan | None, *, force: bool) -> None:
        own = self._build_own_events_evaluator(span)
        if own is not None:
            span = OffsetSpan(0, self._run.event_count - 1)
        elif span is None:
            # Without a span, keep to the span of the existing fold, or take the end of the log.
            before = None if force else self._find_existing_fold()
            event_count = self._run.event_count
            span = (
                OffsetSpan(before.first_offset, before.next_offset - 1)
                if before
                else OffsetSpan(event_count, event_count - 1)
            )
        writer = self._start_history(span, force=force)
        if not writer.next_offset:
            writer.first_offset = span.first
            self._write_base_documents(writer, span)
        error_at_event: ProjectionError | None = None
        while writer.next_offset <= span.last and error_at_event is None:
            try:
                self._fold_stretch(writer, span, own)
            except ProjectionError as error:
                error_at_event = error
            self._flush(writer)
            self._run.report_progress(writer)
        self._run.evict_old_histories()
        if error_at_event is not None:
            raise error_at_event

    def _build_own_events_evaluator(self, span: OffsetSpan | None) -> OwnEventsEvaluator | None:
        """Return the evaluator for the whole log; None if the relation can only fold a span.

        Raises `ProjectionError` for an unusable declaration, unless a span is given.
        """
        if self._relation.own_events_expression is None:
            return None
        own = OwnEventsEvaluator(self._relation.own_events_expression, self._projection_name)
        try:
            with self._open_evaluation() as evaluation:
                own.raise_if_unusable(evaluation)
        except ProjectionError:
            if span is None:
                raise
            return None
        return own

    def _start_history(self, span: OffsetSpan, *, force: bool) -> HistoryWriter:
        """Start the history: continue the existing one if it reaches the span, or begin a new one."""
        before = self._find_existing_fold()
        is_resumable = (
            before is not None and before.first_offset <= span.first <= before.next_offset
        )
        return self._run.start_history(self._relation.ready_header, force=force or not is_resumable)

    def _find_existing_fold(self) -> FoldRecord | None:
        """Return the existing fold of this code, if there is one."""
        before = catalogue.find_fold(self._run.workspace, self._run.reference)
        return before if before is not None and before.is_code_unchanged else None

    def _write_base_documents(self, writer: HistoryWriter, span: OffsetSpan) -> None:
        """Write the documents at the position before the span."""
        if span.position_before != START:
            with self._open_evaluation() as evaluation:
                self._add_changes(
                    evaluation,
                    writer,
                    per_event.load_base_documents(evaluation, span.position_before),
                    None,
                    span.first,
                )
        self._flush(writer)

    def _fold_stretch(
        self, writer: HistoryWriter, span: OffsetSpan, own: OwnEventsEvaluator | None
    ) -> None:
        first = writer.next_offset
        with self._open_evaluation() as evaluation:
            if own is not None:
                stretch = own.evaluate_stretch(evaluation, first, self._run.event_count)
                self._add_changes(
                    evaluation, writer, stretch.states, stretch.routes, stretch.end_offset
                )
            else:
                states, end_offset = per_event.evaluate_each_event(
                    evaluation,
                    first,
                    span.last,
                    _FLUSH_SECONDS,
                    lambda _: self._run.raise_if_cancelled_at(writer),
                )
                self._add_changes(evaluation, writer, states, None, end_offset)

    def _add_changes(
        self,
        evaluation: RelationEvaluation,
        writer: HistoryWriter,
        states: pa.Table,
        routes: pa.Table | None,
        end_offset: int,
    ) -> None:
        batch_result = change_numbering.number_changes(
            evaluation,
            states,
            routes,
            projection=self._run.projection_number,
            timeline=self._run.workspace.timeline,
            next_change=writer.change_count,
        )
        writer.add_batch(batch_result, end_offset)

    def _open_evaluation(self) -> AbstractContextManager[RelationEvaluation]:
        return open_evaluation(
            self._run.workspace, self._relation, self._projection_name, self._run.is_cancelled
        )

    def _flush(self, writer: HistoryWriter) -> None:
        now = time.monotonic()
        writer.round_trips_json = True
        writer.flush(now - self._last_flush_time)
        self._last_flush_time = now
