"""Records calls: runs a projection with real calls to the outside, and keeps the answers.

Handlers see the unredacted answers in this run, so their states are discarded: every history is
folded from the redacted recordings, and no secret reaches a state. Answers are flushed while the run
goes on, so a kill loses only the latest ones; a command in flight at that time is kept as pending.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gateway import recording_store
from gateway.calls import Answer, Decision
from gateway.recording_store import Recording
from gateway.settings import GatewaySettings
from replay.event_fold import state_recall
from replay.event_fold.event_reader import EventReader
from replay.history.catalogue import FoldRecord
from replay.projection import projection_reference
from replay.projection.declaration import is_over_all_events
from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference
from replay.worker_host.batch_result import BatchResult
from replay.worker_host.gateway_bridge import GatewayBridge
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import WorkerGroup
from replay.worker_host.worker_process import PATIENCE_SECONDS, WorkerDiedError
from storage.errors import ProjectionError
from storage.workspace.workspace import Workspace

_BATCH_EVENTS = 256
"""Events in one batch; few, because the calls take longer than the handlers."""
_BATCHES_AHEAD = 2
_FLUSH_SECONDS = 2.0
_MAX_UNFLUSHED_CALLS = 2_000

OnRecordingProgress = Callable[[int, int, int], None]
"""Receives the offset up to which events are handled, the offset of the end, and the calls so far."""


@dataclass
class RecordingRun:
    """The counts of a run with real calls."""

    call_count: int = 0
    """Calls with an answer, with a suppressed command or with a pending command."""
    error_count: int = 0
    """Calls with an error as their answer, and calls that could not be made."""
    suppressed_count: int = 0
    """Those of `call_count` whose command was not sent."""
    pending: list[Recording] = field(default_factory=list)
    """Commands of an earlier run, not sent again because their outcome is unknown."""
    first_missed: str | None = None
    """Port, operation and reason of the first call that could not be made."""
    failure_count: int = 0
    """Handlers that raised."""
    uncalled_ports: list[str] = field(default_factory=list)
    """Ports whose commands were allowed out, but that received no command."""


@dataclass(frozen=True)
class ChangedAnswer:
    """A recording whose call now gets another answer from the outside."""

    recording: Recording
    current_answer: Answer
    differences: list[str]


def record(
    workspace: Workspace,
    reference: Reference,
    settings: GatewaySettings,
    *,
    base_record: FoldRecord | None = None,
    span: OffsetSpan | None = None,
    patience: float = PATIENCE_SECONDS,
    on_progress: OnRecordingProgress | None = None,
    raise_if_cancelled: Callable[[], None] = lambda: None,
) -> tuple[RecordingRun, list[ChangedAnswer]]:
    """Run a projection's handlers with real calls, and keep the answers.

    The answers replace those that earlier runs recorded for the projection at these events. With a
    `span`, only its events are handled, starting from the states of the history `base_record`.
    `settings` contains the mode: `record`, `live` (nothing is kept) or `audit` (returns the calls
    whose answers changed). `patience` limits the seconds for one event.

    Raises `ProjectionError` if the projection can't run, `StaleError` if another process rewrote the
    workspace meanwhile, and whatever `raise_if_cancelled` raises.
    """
    if reference.command or is_over_all_events(reference.text):
        raise ProjectionError(
            f"{reference.name} can't record calls, because only Python handlers have a gateway."
            " Give a projection in Python with -p."
        )
    with GatewayBridge(workspace, replace(reference, gateway_settings=settings)) as gateway_bridge:
        recorder = _CallRecorder(
            workspace, gateway_bridge, reference, span, base_record, on_progress, raise_if_cancelled
        )
        try:
            recorder.record_calls(patience)
        finally:
            redactor = gateway_bridge.broker.recordings.redactor
            recording_store.redact_stored_recordings(
                workspace, redactor, "projection = ?", [reference.name]
            )
        uncalled_ports = sorted(settings.send - gateway_bridge.broker.command_ports)
        recorder.run.uncalled_ports = uncalled_ports
        recorder.run.pending = gateway_bridge.broker.pending
        changed = [ChangedAnswer(*found) for found in gateway_bridge.broker.audit_differences]
    return recorder.run, changed


class _CallRecorder:
    def __init__(
        self,
        workspace: Workspace,
        gateway_bridge: GatewayBridge,
        reference: Reference,
        span: OffsetSpan | None,
        base_record: FoldRecord | None,
        on_progress: OnRecordingProgress | None,
        raise_if_cancelled: Callable[[], None],
    ) -> None:
        self.run = RecordingRun()
        self._workspace = workspace
        self._gateway_bridge = gateway_bridge
        self._reference = reference
        self._base_record = base_record
        self._on_progress = on_progress
        self._raise_if_person_cancelled = raise_if_cancelled
        reader = EventReader.for_whole_log(workspace, 1)
        first = span.first if span is not None else 0
        self._end_offset = (
            reader.end_offset if span is None else min(span.last + 1, reader.end_offset)
        )
        self._events = EventReader(workspace, first, self._end_offset, 1)
        self._first = self._done_until = first
        self._replaced_until = first
        self._last_flush_time = time.monotonic()

    def record_calls(self, patience: float) -> None:
        # With exact encoding a worker never restarts; a restart would make calls twice.
        with WorkerGroup(
            replace(self._reference, gateway_settings=self._gateway_bridge.settings),
            1,
            self._gateway_bridge,
            careful=True,
            resuming=self._first > 0,
            plain=self._base_record is not None and self._base_record.round_trips_json is True,
            patience=patience,
        ) as worker_group:
            ready = worker_group.wait_until_ready()
            self._gateway_bridge.broker.recordings.code_hash = projection_reference.hash_projection(
                ready["files"], ready["python"]
            )
            try:
                self._send_batches(worker_group)
            except WorkerDiedError as error:
                raise ProjectionError(
                    f"The worker of {self._reference.name} {error.reason} at offset {error.offset:,};"
                    " the answers recorded before it are kept."
                ) from error
            finally:
                self._flush()

    def _send_batches(self, worker_group: WorkerGroup) -> None:
        waiting: deque[Any] = deque()
        while True:
            while (
                len(waiting) < _BATCHES_AHEAD
                and (table := self._events.read_batch(_BATCH_EVENTS)) is not None
            ):
                waiting.append((worker_group.send_batch(table, 0), table["offset"][-1].as_py() + 1))
            if not waiting:
                return
            shares, until = waiting.popleft()
            batch_result = worker_group.receive_batch(
                shares, self._recall_documents, self._raise_if_cancelled
            )
            if batch_result is None:
                return
            self._count_calls(batch_result)
            self._done_until = until
            if self._on_progress is not None:
                self._on_progress(self._done_until, self._end_offset, self.run.call_count)
            if self._is_flush_due():
                self._flush()

    def _count_calls(self, batch_result: BatchResult) -> None:
        run = self.run
        run.failure_count += len(batch_result.failures)
        for one in batch_result.call_decisions:
            decision = Decision(one["decision"])
            if decision is Decision.MISSED:
                run.error_count += 1
                run.first_missed = (
                    run.first_missed or f"{one['port']}.{one['operation']}: {one['reason']}"
                )
            elif decision in (Decision.LIVE, Decision.SUPPRESSED, Decision.PENDING):
                run.call_count += 1
                run.suppressed_count += decision is not Decision.LIVE
                failed = one["response"] is not None and one["response"].startswith('{"error":')
                run.error_count += failed and decision is Decision.LIVE
        if batch_result.calls is not None:
            run.call_count += batch_result.calls.num_rows
            run.suppressed_count += (
                batch_result.calls["decision"].to_pylist().count(Decision.SUPPRESSED.value)
            )

    def _is_flush_due(self) -> bool:
        since = time.monotonic() - self._last_flush_time
        return (
            since > _FLUSH_SECONDS
            or len(self._gateway_bridge.broker.recordings) > _MAX_UNFLUSHED_CALLS
        )

    def _raise_if_cancelled(self) -> None:
        self._raise_if_person_cancelled()
        if self._is_flush_due():
            self._flush()

    def _flush(self) -> None:
        """Save the new answers in place of earlier recordings at the same events."""
        kept = self._gateway_bridge.broker.recordings.take()
        self._last_flush_time = time.monotonic()
        if not self._gateway_bridge.settings.mode.keeps_answers:
            return
        last = max([self._done_until - 1, *(one.call.offset for one in kept)])
        with self._workspace.writing(generation=self._gateway_bridge.generation) as connection:
            if last >= self._replaced_until:
                recording_store.delete_recordings(
                    connection, self._reference.name, self._replaced_until, last
                )
                self._replaced_until = last + 1
            recording_store.insert_recordings(connection, kept)

    def _recall_documents(self, frame: Frame) -> state_recall.DocumentFrame:
        if self._base_record is None:
            raise ProjectionError(
                "No history is folded before these events. Fold the projection first."
            )
        keys = frame.header["keys"]
        arguments = (self._workspace, self._base_record.projection_number, keys)
        if frame.header["events"]:
            return state_recall.recall_events(
                *arguments, before_offset=self._first, is_routed=False
            )
        return state_recall.recall_states(*arguments, before_offset=self._first)
