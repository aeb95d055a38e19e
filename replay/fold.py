"""Folds a timeline through a projection into a history, and continues where the last fold ended.

This process reads batches of events, sends them to the worker, and writes the batch results. The
worker runs ahead of the writing by a bounded number of batches. A fold restarts from the first event
only if the code, the recorded answers or the edits of the fork changed, or if the caller forces it.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from replay.event_fold import event_reader, fold_restart, partitioned_fold, state_recall
from replay.event_fold.event_reader import EventReader
from replay.event_fold.fold_run import FoldCallbacks, FoldLimits, FoldRun
from replay.event_fold.history_writer import ConcurrentFoldError, HistoryWriter
from replay.forks import fork_fold as forks
from replay.forks.warm_worker import WarmWorker
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.projection import declaration
from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference, apply_timeline_answers
from replay.query_projections import relation_fold as relational
from replay.worker_host.flow_control import FlowControl
from replay.worker_host.gateway_bridge import GatewayBridge
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import LossyStateError, WorkerGroup, WorkersFullError
from replay.worker_host.worker_process import WorkerDiedError
from storage.errors import CancelledError, ProjectionError, StaleError
from storage.log.event_rows import read_event_heads
from storage.timelines.forked_workspace import ForkedWorkspace, as_fork
from storage.workspace.workspace import Workspace

_FLUSH_SECONDS = 5.0
_FIRST_FLUSH_SECONDS = 0.15
"""The interval before the first flush, short because the screen waits for the first states; it
doubles after each flush, up to `_FLUSH_SECONDS`."""
_FEW_ROWS = 1_000
"""So few rows are written with the end of the fold, because opening the file takes longer than they do."""
_CANCEL_GRACE_SECONDS = 1.0
"""How long a cancelled worker may take to finish the batches that it has begun."""


def fold_projection(
    workspace: Workspace,
    reference: Reference,
    *,
    force: bool = False,
    span: OffsetSpan | None = None,
    limits: FoldLimits | None = None,
    callbacks: FoldCallbacks | None = None,
    warm_worker: WarmWorker | None = None,
) -> FoldRecord:
    """Fold the missing part of a projection's history, and return the record of the whole fold.

    On a fork, fold the parent first and then the documents that differ from it; `warm_worker` is a
    running worker to reuse for that.

    A projection over all events that doesn't declare "own events of" is folded over the `span`, or at
    the end of the log; every other projection is folded over the whole log.

    Raises `ProjectionError` if the projection can't run or its worker died (the changes before that
    event are kept), and `CancelledError` if the person cancels. If another process rewrites the
    workspace (an erasure) during the fold, the timeline is folded again from its start. A fork raises
    `StaleError` if its edits in the file are no longer those of `workspace`.
    """
    fold = _Fold(reference, span, limits or FoldLimits(), callbacks or FoldCallbacks(), warm_worker)
    return fold_restart.repeat_until_current(
        workspace, partial(fold.fold_timeline, workspace), force=force
    )


@dataclass(frozen=True)
class _Fold:
    """What a caller wants folded, and with what."""

    reference: Reference
    span: OffsetSpan | None
    limits: FoldLimits
    callbacks: FoldCallbacks
    warm_worker: WarmWorker | None

    def fold_timeline(self, workspace: Workspace, *, force: bool) -> FoldRecord:
        """Fold the missing part of one timeline once; see `fold_projection`."""
        fork = as_fork(workspace)
        is_over_all_events = declaration.is_over_all_events(self.reference.text)
        if fork is not None and not is_over_all_events:
            return self._fold_fork(fork, force=force)
        existing = catalogue.find_fold(workspace, self.reference)
        event_count = event_reader.count_events(workspace)
        whole = OffsetSpan(0, event_count - 1)
        needed = (self.span or whole) if is_over_all_events else whole
        is_fresh = existing is None or _is_fresh(existing, workspace)
        force = force or not is_fresh
        if existing and not force and existing.covers(needed) and existing.is_code_unchanged:
            return existing
        with GatewayBridge(workspace, self.reference, ask=self.callbacks.ask) as gateway_bridge:
            run = FoldRun(
                workspace, self.reference, event_count, self.limits, self.callbacks, gateway_bridge
            )
            if is_over_all_events:
                relational.fold_relation(run, self.span, force=force)
            else:
                try:
                    _LogFold(run).run_to_end(force=force)
                finally:
                    run.save_recordings()
            return run.build_record()

    def _fold_fork(self, workspace: ForkedWorkspace, *, force: bool) -> FoldRecord:
        """Fold the documents of a fork that differ from its parent, and the parent before."""
        label = forks.find_base_label(workspace)
        base = (
            fold_projection(
                workspace.parent, self.reference, limits=self.limits, callbacks=self.callbacks
            )
            if label is None
            else catalogue.get_fold_by_name(workspace.parent, label)
        )
        existing = catalogue.find_fold(workspace, self.reference)
        event_count = event_reader.count_events(workspace)
        if (
            existing is not None
            and not force
            and existing.is_code_unchanged
            and _is_fresh(existing, workspace)
            and existing.next_offset == event_count
            and forks.is_based_on(workspace, existing, base)
        ):
            return existing
        effective = apply_timeline_answers(workspace, self.reference)
        with GatewayBridge(workspace, effective, ask=self.callbacks.ask) as gateway_bridge:
            limits = replace(self.limits, workers=1)
            run = FoldRun(workspace, effective, event_count, limits, self.callbacks, gateway_bridge)
            forks.fold_fork(run, workspace, base, self.warm_worker)
            run.save_recordings()
            return run.build_record()


def _is_fresh(existing: FoldRecord, workspace: Workspace) -> bool:
    """Return whether neither recorded answers nor edits of the fork changed since the fold."""
    return (
        existing.are_recordings_unchanged and existing.timeline_digest == workspace.timeline_digest
    )


class _LogFold:
    """One fold of the log, with a new group of workers after each death or change of encoding."""

    def __init__(self, run: FoldRun) -> None:
        self._run = run
        self._exact_encoding = False
        self._round_trips_json: bool | None = None

    def run_to_end(self, *, force: bool) -> None:
        """Fold to the end of the log.

        Restart the workers if a state doesn't survive JSON or if a worker dies.
        """
        until = self._run.event_count
        death: WorkerDiedError | None = None
        while True:
            try:
                self._fold_with_workers(until, force=force)
            except LossyStateError:
                self._exact_encoding, force = True, True
                continue
            except ConcurrentFoldError:
                # Another process folds the same projection: continue where it ended.
                force = False
                continue
            except WorkerDiedError as error:
                if error.offset < 0:
                    raise ProjectionError(
                        f"{self._run.reference.name} {error.reason} while it was being loaded."
                    ) from error
                death, force = death or error, False
                # Fold up to the event that killed the worker. If memory or time was the cause, the
                # next worker may die earlier, so halve the distance after each further death.
                flushed_until = self._flushed_until()
                is_first_death = until == self._run.event_count
                # Bound the offset, because the worker reports it and runs untrusted code.
                died = min(error.offset, self._run.event_count - 1)
                until = died if is_first_death else (flushed_until + died) // 2
                if until > flushed_until:
                    continue
            self._run.evict_old_histories()
            if death is not None:
                raise ProjectionError(self._death_message(death)) from death
            return

    def _fold_with_workers(self, end_offset: int, *, force: bool) -> None:
        started = time.monotonic()
        resuming = not force and self._can_resume()
        if resuming and self._round_trips_json is False:
            self._exact_encoding = True
        with WorkerGroup(
            self._run.reference,
            self._run.limits.workers,
            self._run.gateway_bridge,
            careful=self._exact_encoding,
            resuming=resuming,
            plain=self._round_trips_json is True,
            patience=self._run.limits.patience_seconds,
            memory=self._run.limits.memory_bytes,
            room=self._run.limits.document_budget_bytes,
        ) as worker_group:
            ready = worker_group.wait_until_ready()
            self._exact_encoding = bool(ready["careful"])
            writer = self._run.start_history(ready, force=force)
            writer.round_trips_json = False if self._exact_encoding else None
            writer.isolation = str(worker_group.isolation)
            if writer.next_offset and not resuming:
                # The code is unchanged after all (only a file's date changed): restart and resume.
                return self._fold_with_workers(end_offset, force=False)
            try:
                _WorkerSession(
                    self._run,
                    worker_group,
                    writer,
                    end_offset,
                    started,
                    round_trips_json=self._round_trips_json,
                ).run()
                return None
            except WorkersFullError as error:
                full_error = error
        share_count = partitioned_fold.choose_share_count(
            full_error, writer.next_offset, end_offset, self._run.limits.document_budget_bytes
        )
        partitioned_fold.fold_by_shares(
            self._run, writer, share_count, end_offset, exact_encoding=self._exact_encoding
        )
        writer.flush(time.monotonic() - started)
        return None

    def _can_resume(self) -> bool:
        before = catalogue.find_fold(self._run.workspace, self._run.reference)
        if before is None or not before.is_code_unchanged:
            return False
        self._round_trips_json = before.round_trips_json
        return before.next_offset > 0

    def _flushed_until(self) -> int:
        fold_record = catalogue.find_fold(self._run.workspace, self._run.reference)
        return 0 if fold_record is None else fold_record.next_offset

    def _death_message(self, death: WorkerDiedError) -> str:
        heads = read_event_heads(self._run.workspace, [death.offset])
        event = f"{heads[0].type} of {heads[0].stream}" if heads else "an event"
        return (
            f"The worker of {self._run.reference.name} {death.reason} at offset {death.offset:,} ({event});"
            " the states before it are kept."
        )


class _WorkerSession:
    """Batches sent through one worker group, starting at the history's next offset."""

    def __init__(
        self,
        run: FoldRun,
        worker_group: WorkerGroup,
        writer: HistoryWriter,
        end_offset: int,
        started: float,
        *,
        round_trips_json: bool | None,
    ) -> None:
        """`round_trips_json` describes the earlier states; see `FoldRecord.round_trips_json`."""
        self._run = run
        self._resumed_round_trips_json = round_trips_json
        self._worker_group = worker_group
        self._writer = writer
        self._last_flush_time = started
        self._start_time = time.monotonic()
        self._flush_interval_seconds = _FIRST_FLUSH_SECONDS
        # A resumed worker sees only the documents that change, so it can't judge the other ones.
        self._workers_see_all_documents = writer.next_offset == 0 or round_trips_json is True
        self._events = EventReader(
            run.workspace, writer.next_offset, end_offset, worker_group.share_count
        )
        self._batches_in_flight: deque[_SentBatch] = deque()
        self._flow_control = FlowControl()

    def run(self) -> None:
        try:
            self._send_batches()
            while self._batches_in_flight:
                self._receive_batch(self._raise_if_cancelled)
                self._run.report_progress(self._writer)
                self._send_batches()
            # The workers check their documents while this process writes.
            self._worker_group.finish()
            if self._writer.pending_rows > _FEW_ROWS:
                self._flush()
            self._drain_results()
        except (CancelledError, KeyboardInterrupt):
            deadline = time.monotonic() + _CANCEL_GRACE_SECONDS
            with contextlib.suppress(
                WorkerDiedError, LossyStateError, WorkersFullError, TimeoutError
            ):
                self._worker_group.drop_queued()
                self._worker_group.finish()
                self._drain_results(lambda: _raise_after(deadline))
            # If another process continued the fold or rewrote the workspace, discard these changes.
            with contextlib.suppress(ConcurrentFoldError, StaleError):
                self._flush()
            raise
        except (WorkerDiedError, WorkersFullError):
            self._flush()
            raise
        self._flush()

    def _raise_if_cancelled(self) -> None:
        self._run.raise_if_cancelled_at(self._writer)

    def _drain_results(self, raise_if_cancelled: Callable[[], None] = lambda: None) -> None:
        """Receive the outstanding results, and whether all states survive JSON."""
        while self._batches_in_flight and self._receive_batch(raise_if_cancelled):
            pass
        plain = self._worker_group.wait_until_done(self._recall_documents, raise_if_cancelled)
        self._writer.round_trips_json = (
            plain if self._workers_see_all_documents else self._resumed_round_trips_json
        )

    def _send_batches(self) -> None:
        while self._flow_control.can_send(
            len(self._batches_in_flight), sum(b.event_count for b in self._batches_in_flight)
        ):
            table = self._events.read_batch(self._flow_control.next_batch_size())
            if table is None:
                return
            shares = self._worker_group.send_batch(table, self._writer.change_count)
            self._batches_in_flight.append(
                _SentBatch(shares, table.num_rows, self._events.next_offset)
            )

    def _receive_batch(self, raise_if_cancelled: Callable[[], None]) -> bool:
        """Add the next batch result to the history; return False if the workers ended before it."""
        batch = self._batches_in_flight[0]
        batch_result = self._worker_group.receive_batch(
            batch.shares, self._recall_documents, raise_if_cancelled
        )
        if batch_result is None:
            return False
        self._batches_in_flight.popleft()
        self._flow_control.record_result(batch.event_count, batch_result.state_bytes)
        self._writer.add_batch(batch_result, batch.end_offset)
        since = time.monotonic() - max(self._last_flush_time, self._start_time)
        if self._writer.is_full or since > self._flush_interval_seconds:
            self._flush(alone=False)
            self._flush_interval_seconds = min(2 * self._flush_interval_seconds, _FLUSH_SECONDS)
        return True

    def _flush(self, *, alone: bool = True) -> None:
        now = time.monotonic()
        self._writer.flush(now - self._last_flush_time, alone=alone)
        self._last_flush_time = now

    def _recall_documents(self, frame: Frame) -> state_recall.DocumentFrame:
        """Return the documents that a resumed worker asks for: their states, or all their events.

        Raises `ConcurrentFoldError` if they may come from the fold of another process.
        """
        keys, before = frame.header["keys"], self._writer.next_offset
        arguments = (self._run.workspace, self._run.projection_number, keys)
        if frame.header["events"]:
            recalled = state_recall.recall_events(
                *arguments, before_offset=before, is_routed=self._worker_group.is_routed
            )
        else:
            recalled = state_recall.recall_states(*arguments, before_offset=before)
        self._writer.raise_if_overtaken()
        return recalled


@dataclass(frozen=True)
class _SentBatch:
    """A batch that was sent to the workers and has no result yet."""

    shares: list[pa.Table]
    event_count: int
    end_offset: int


def _raise_after(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError
