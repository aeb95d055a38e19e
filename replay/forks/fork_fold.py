"""Folds a fork: only the documents that may differ, from their states on the parent.

All other documents are read from the parent's fold; see `storage.timelines.forked_workspace`.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.compute as pc

from replay.event_fold import state_recall
from replay.event_fold.fold_run import FoldRun
from replay.event_fold.history_writer import ConcurrentFoldError
from replay.forks import affected_search, fork_events
from replay.forks.affected_documents import AffectedDocuments
from replay.forks.fork_history_writer import ForkHistoryWriter
from replay.forks.warm_worker import WarmWorker
from replay.history import catalogue
from replay.history.catalogue import FoldRecord
from replay.worker_host.batch_result import BatchResult
from replay.worker_host.flow_control import FlowControl
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import LossyStateError, WorkerGroup
from replay.worker_host.worker_process import WorkerDiedError
from storage.coordinates.edit_kind import EditKind
from storage.errors import ProjectionError
from storage.folds import fork_base_rows
from storage.timelines.forked_workspace import ForkedWorkspace

MAX_CHECKED_CHANGES = 20_000
"""Up to this many changes, a worker checks every state for values that don't survive JSON."""


def fold_fork(
    run: FoldRun,
    forked_workspace: ForkedWorkspace,
    base_record: FoldRecord,
    warm_worker: WarmWorker | None = None,
) -> None:
    """Fold the documents that differ from the parent's fold, and save them.

    `warm_worker` is a running worker to reuse. Raises the errors of `replay.fold.fold_projection`.
    """
    exact_encoding = base_record.round_trips_json is False
    while True:
        with ExitStack() as stack:
            worker = warm_worker or stack.enter_context(WarmWorker())
            try:
                return _fold_with_worker(
                    run, forked_workspace, base_record, worker, exact_encoding=exact_encoding
                )
            except LossyStateError:
                exact_encoding = True
                worker.close()
            except WorkerDiedError as error:
                worker.close()
                at = forked_workspace.label_at(error.offset) if error.offset >= 0 else "the start"
                raise ProjectionError(
                    f"The worker of {run.reference.name} {error.reason} at {at} on {forked_workspace.timeline};"
                    " no state of this fork was kept."
                ) from error
            except BaseException:
                worker.close()  # its state is unknown
                raise


def _fold_with_worker(
    run: FoldRun,
    forked_workspace: ForkedWorkspace,
    base_record: FoldRecord,
    warm_worker: WarmWorker,
    *,
    exact_encoding: bool,
) -> None:
    started = time.monotonic()
    round_trips_json = base_record.round_trips_json is True and not exact_encoding
    worker_group, ready_header = warm_worker.prepare_worker(
        run, exact_encoding=exact_encoding, round_trips_json=round_trips_json
    )
    affected = affected_search.find_affected_documents(
        forked_workspace, base_record, worker_group, run.raise_if_cancelled
    )
    writer = ForkHistoryWriter(run, forked_workspace, base_record, ready_header, affected)
    writer.isolation = str(worker_group.isolation)
    parent_events = None
    if (
        not affected.affects_all_documents
        and len(affected.keys) <= fork_events.MAX_DOCUMENTS_IN_MEMORY
    ):
        parent_events = fork_events.load_events_reaching(
            forked_workspace.parent, base_record, affected.keys, is_routed=worker_group.is_routed
        )
    worker_pass = ForkWorkerPass(
        run, forked_workspace, base_record, worker_group, affected, parent_events
    )
    for batch_result, until in worker_pass.iterate_results(writer.change_count):
        writer.add_batch(batch_result, until)
        run.report_progress(writer)
        if writer.is_full:
            writer.flush(0.0)
    is_every_state_checked = writer.own_change_count < MAX_CHECKED_CHANGES
    writer.round_trips_json = (
        False
        if ready_header["careful"]
        else base_record.round_trips_json
        if is_every_state_checked
        else None
    )
    writer.finish(time.monotonic() - started)
    run.projection_number = writer.scope.projection_number
    run.set_writer(writer.projection_row, writer)


def find_base_label(forked_workspace: ForkedWorkspace) -> str | None:
    """Return the label of the projection whose states the fork continues from; None: its own."""
    base_labels = [
        edit.value for edit in forked_workspace.fork.active_edits if edit.kind is EditKind.BASE
    ]
    return base_labels[-1] if base_labels else None


def is_based_on(
    forked_workspace: ForkedWorkspace, fold_record: FoldRecord, base_record: FoldRecord
) -> bool:
    """Whether a fork's fold is based on this fold of its parent."""
    with forked_workspace.main_workspace.reading() as connection:
        base = fork_base_rows.read_fork_base(connection, fold_record.scope)
    return base is not None and base.base_number == base_record.projection_number


class ForkWorkerPass:
    """One pass of a fork's events through a worker, for the documents that may differ."""

    def __init__(
        self,
        run: FoldRun,
        forked_workspace: ForkedWorkspace,
        base_record: FoldRecord,
        worker_group: WorkerGroup,
        affected: AffectedDocuments,
        parent_events: pa.Table | None,
    ) -> None:
        """`parent_events` are the parent's events that reached affected documents; None if these are
        too many to hold in memory."""
        self._run = run
        self._forked_workspace = forked_workspace
        self._base_record = base_record
        self._worker_group = worker_group
        self._affected = affected
        self._parent_events = parent_events

    def iterate_results(self, first_change: int) -> Iterator[tuple[BatchResult, int]]:
        """Yield the result and the end position of each batch; changes are numbered from
        `first_change`."""
        only = None if self._affected.affects_all_documents else self._affected.keys
        flow_control = FlowControl()
        waiting: deque[tuple[list[pa.Table], pa.Table]] = deque()
        for table in self._event_batches():
            left = table
            while left.num_rows:
                while not flow_control.can_send(
                    len(waiting), sum(sent.num_rows for _, sent in waiting)
                ):
                    yield self._receive_batch(*waiting.popleft(), flow_control)
                sent, left = (
                    left.slice(0, flow_control.next_batch_size()),
                    left.slice(flow_control.next_batch_size()),
                )
                waiting.append((self._worker_group.send_batch(sent, first_change, only), sent))
        while waiting:
            yield self._receive_batch(*waiting.popleft(), flow_control)

    def _receive_batch(
        self, shares: list[pa.Table], sent_events: pa.Table, flow_control: FlowControl
    ) -> tuple[BatchResult, int]:
        batch_result = self._worker_group.receive_batch(
            shares, self._recall_documents, self._run.raise_if_cancelled
        )
        if batch_result is None:
            raise ProjectionError(
                f"The worker of {self._run.reference.name} ended before its last event."
            )
        flow_control.record_result(sent_events.num_rows, batch_result.state_bytes)
        return batch_result, sent_events["offset"][-1].as_py() + 1

    def _event_batches(self) -> Iterator[pa.Table]:
        if self._parent_events is None:
            yield from fork_events.iterate_event_batches(
                self._forked_workspace,
                self._base_record,
                self._affected,
                is_routed=self._worker_group.is_routed,
            )
        else:
            yield fork_events.overlay_events(
                self._forked_workspace.position_map, self._parent_events, self._affected
            )

    def _recall_documents(self, frame: Frame) -> state_recall.DocumentFrame:
        """Return documents as they were on the parent before the first difference.

        Raises `ConcurrentFoldError` if another process folded the parent again.
        """
        recalled = self._recall(frame)
        with self._forked_workspace.main_workspace.reading() as connection:
            if catalogue.is_refolded(connection, self._base_record):
                raise ConcurrentFoldError
        return recalled

    def _recall(self, frame: Frame) -> state_recall.DocumentFrame:
        before = self._affected.parent_since_position
        arguments = (
            self._forked_workspace.parent,
            self._base_record.projection_number,
            frame.header["keys"],
        )
        if not frame.header["events"]:
            return state_recall.recall_states(*arguments, before_offset=before)
        if self._parent_events is None:
            return state_recall.recall_events(
                *arguments, before_offset=before, is_routed=self._worker_group.is_routed
            )
        own = self._parent_events.filter(pc.field("offset") < before)
        return state_recall.recall_given_events(*arguments, own, before_offset=before)
