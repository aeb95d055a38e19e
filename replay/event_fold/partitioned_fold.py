"""Folds documents in shares, one share after the other, if they don't fit into a worker's memory.

One worker per share folds its documents over the whole log, at most two workers at a time; its batch
results go to a temporary file (a spool) beside the workspace. Then all spools are read in parallel,
one batch of events at a time, and merged like the results of parallel workers: the history equals that
of a single worker. The earlier part of the history stays unchanged and readable meanwhile.
"""

import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc

from replay.event_fold.event_reader import EventReader
from replay.event_fold.fold_run import FoldRun
from replay.event_fold.history_writer import HistoryWriter
from replay.worker.protocol import wire
from replay.worker_host import event_frame
from replay.worker_host.batch_result import BatchMerger, decode_batch_result
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import WorkersFullError, raise_if_gave_up
from replay.worker_host.worker_process import Worker, projection_load_error
from storage.errors import CancelledError

_BATCH_EVENTS = 500_000
"""Events of the log in one batch; each share gets those of its own documents."""
_BATCHES_AHEAD = 2
_CONCURRENT_WORKERS = min(2, os.cpu_count() or 1)
_MAX_SHARES = 400
"""Limited because each share has an open file; at this number the memory budget isn't enforced."""
_FILL_RATIO = 0.6
"""The planned part of its memory budget that a share fills; hashing keys gives uneven shares."""
_COMPRESSION = "lz4"


Spool = IO[bytes]


def choose_share_count(
    full_error: WorkersFullError, next_offset: int, event_count: int, budget_bytes: int
) -> int:
    """Return the number of shares needed if the documents grow in proportion to the events.

    `full_error` reports the memory of the documents at `next_offset`; `event_count` is the end offset.
    """
    expected = full_error.memory_bytes * event_count / max(next_offset, 1)
    return max(2, int(expected / (_FILL_RATIO * budget_bytes)) + 1)


def fold_by_shares(
    run: FoldRun, writer: HistoryWriter, share_count: int, end_offset: int, *, exact_encoding: bool
) -> None:
    """Continue the fold in shares up to `end_offset`; raises the same errors as one worker's fold.

    The number of shares doubles whenever a share doesn't fit into its memory budget.
    """
    folder = run.workspace.path.resolve().parent
    share_count *= _CONCURRENT_WORKERS
    while True:
        share_count = min(share_count, _MAX_SHARES)
        # The files are unnamed, so a kill of this process leaves nothing behind.
        with ExitStack() as opened:
            files = [
                opened.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(share_count)
            ]
            try:
                share_results = _ShareFolds(
                    run, writer, share_count, end_offset, exact_encoding=exact_encoding
                ).fold(files)
            except WorkersFullError:
                share_count *= 2
                continue
            round_trips_json = [share.round_trips_json for share in share_results]
            writer.round_trips_json = (
                False if False in round_trips_json else None if None in round_trips_json else True
            )
            _ShareMerge(run, writer, share_results[0].is_routed, end_offset).merge_spools(files)
            return


@dataclass(frozen=True)
class _ShareResult:
    """The properties that a worker reports for its share."""

    is_routed: bool
    round_trips_json: bool | None
    """See `FoldRecord.round_trips_json`."""


class _ShareFolds:
    """Folds all shares, at most `_CONCURRENT_WORKERS` at a time."""

    def __init__(
        self,
        run: FoldRun,
        writer: HistoryWriter,
        share_count: int,
        end_offset: int,
        *,
        exact_encoding: bool,
    ) -> None:
        self._run = run
        self._writer = writer
        self._share_count = share_count
        self._end_offset = end_offset
        self._exact_encoding = exact_encoding
        self._done_until = [0] * share_count
        """The end offset of the last batch of each share."""
        self._has_ended = False
        self._progress_lock = threading.Lock()

    def fold(self, files: Sequence[Spool]) -> list[_ShareResult]:
        """Write each share's batch results to its file; raise the error of the first share to fail."""
        with ThreadPoolExecutor(_CONCURRENT_WORKERS) as threads:
            shares = [
                threads.submit(self._fold_share, part, file) for part, file in enumerate(files)
            ]
            try:
                for share in as_completed(shares):
                    share.result()
            finally:
                self._has_ended = True
                threads.shutdown(cancel_futures=True)
        return [share.result() for share in shares]

    def _fold_share(self, share: int, spool: Spool) -> _ShareResult:
        limits = self._run.limits
        with (
            Worker(
                self._run.reference,
                self._run.gateway_bridge,
                careful=self._exact_encoding,
                part=share,
                parts=self._share_count,
                patience=limits.patience_seconds,
                memory=limits.memory_bytes and limits.memory_bytes // _CONCURRENT_WORKERS,
                room=limits.document_budget_bytes // _CONCURRENT_WORKERS
                if self._share_count < _MAX_SHARES
                else 0,
            ) as worker,
            pa.output_stream(_reopen(spool, "wb"), compression=_COMPRESSION) as out,
        ):
            ready = worker.receive()
            if ready.kind == "unusable":
                raise projection_load_error(self._run.reference, ready.header)
            routed = bool(ready.ready_for("fold").header["routed"])
            self._send_batches(worker, share, out, is_routed=routed)
            worker.finish()
            frame = worker.receive(self._raise_if_cancelled)
            raise_if_gave_up(frame)
            return _ShareResult(routed, frame.expected("done").header.get("plain"))

    def _send_batches(self, worker: Worker, share: int, out: BinaryIO, *, is_routed: bool) -> None:
        only = None if is_routed else share
        reader = EventReader(
            self._run.workspace, 0, self._end_offset, self._share_count, only_share=only
        )
        waiting: deque[int] = deque()
        for first, last in _batch_ranges(self._writer.next_offset, self._end_offset):
            events = _read_batch(reader, first, last)
            header, parts = event_frame.build_event_frame(
                events, self._run.gateway_bridge.recorded_answers(events)
            )
            if first == 0:
                header["first_change"] = 0
            worker.send(header, parts)
            waiting.append(last)
            if len(waiting) > _BATCHES_AHEAD:
                self._spool_result(worker, share, out, waiting.popleft())
        for last in waiting:
            self._spool_result(worker, share, out, last)

    def _spool_result(self, worker: Worker, share: int, out: BinaryIO, last: int) -> None:
        frame = worker.receive(self._raise_if_cancelled)
        raise_if_gave_up(frame)
        frame.expected("folded")
        parts = list(frame.parts)
        if last <= self._writer.next_offset:
            # These states are in the history already; keep only the numbers of their changes.
            parts[1], parts[2] = bytes(len(parts[1])), b""
        wire.send_frame(out, dict(frame.header), tuple(parts))
        self._done_until[share] = last
        with self._progress_lock:
            self._run.report_progress(
                self._writer, folded_events=sum(self._done_until) // self._share_count
            )

    def _raise_if_cancelled(self) -> None:
        self._run.raise_if_cancelled_at(self._writer)
        if self._has_ended:
            raise CancelledError("Another share has ended the fold.")


def _batch_ranges(flushed_until: int, end_offset: int) -> Iterator[tuple[int, int]]:
    """Yield the first and end offset of each batch; one batch ends exactly at `flushed_until`."""
    for first, last in ((0, flushed_until), (flushed_until, end_offset)):
        for at in range(first, last, _BATCH_EVENTS):
            yield at, min(at + _BATCH_EVENTS, last)


class _ShareMerge:
    """Merges the files of all shares into the history, one batch of events at a time."""

    def __init__(
        self, run: FoldRun, writer: HistoryWriter, is_routed: bool, end_offset: int
    ) -> None:
        self._run = run
        self._writer = writer
        self._is_routed = is_routed
        self._end_offset = end_offset

    def merge_spools(self, files: Sequence[Spool]) -> None:
        share_count, flushed_until = len(files), self._writer.next_offset
        event_share_count = 1 if self._is_routed else share_count
        reader = EventReader(
            self._run.workspace, 0, self._end_offset, event_share_count, columns='"offset", stream'
        )
        merger = BatchMerger(share_count, 0)
        with ExitStack() as opened:
            spools = [
                opened.enter_context(pa.input_stream(_reopen(file, "rb"), compression=_COMPRESSION))
                for file in files
            ]
            for first, last in _batch_ranges(flushed_until, self._end_offset):
                events = _read_batch(reader, first, last)
                shares = [events] * share_count
                if event_share_count > 1:
                    shares = [
                        events.filter(pc.equal(events["share"], n)) for n in range(share_count)
                    ]
                frames = [Frame(*wire.receive_frame(spool)) for spool in spools]
                batch_result = merger.merge_results(
                    [
                        decode_batch_result(f, s.combine_chunks())
                        for f, s in zip(frames, shares, strict=True)
                    ]
                )
                if first >= flushed_until:
                    self._writer.add_batch(batch_result, last)
                    if self._writer.is_full:
                        self._writer.flush(0.0)
                self._run.report_progress(self._writer)


def _reopen(spool: Spool, mode: str) -> BinaryIO:
    """Return the file opened again at its beginning; the caller closes it."""
    spool.seek(0)
    return cast("BinaryIO", os.fdopen(os.dup(spool.fileno()), mode))


def _read_batch(reader: EventReader, first: int, last: int) -> pa.Table:
    events = reader.read_batch(last - first)
    assert events is not None  # noqa: S101 - the ranges end where the reader does
    return events
