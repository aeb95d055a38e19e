"""Very many documents: folded share after share, where a worker has no room for all of them.

Each share of the documents is folded over the whole log by a worker of its own, two at a time as
nobody else has to do meanwhile, and what the worker says is laid down in a file beside the workspace.
Then all shares are read side by side, a batch of events at a time, and put together as what several
workers say at once is: the history is the one that a single worker would have given. What was folded
before stays as it is and can be travelled meanwhile.
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
"""Events of the log that a share's batch is out of."""
_BATCHES_AHEAD = 2
_CONCURRENT_WORKERS = min(2, os.cpu_count() or 1)
_MAX_SHARES = 400
"""Shares, as each has a file that is open; those of so many take the room that they need."""
_FILL_RATIO = 0.6
"""How much of its room a share takes, as keys are no more even than chance is."""
_COMPRESSION = "lz4"


Spool = IO[bytes]


def choose_share_count(
    full_error: WorkersFullError, next_offset: int, event_count: int, budget_bytes: int
) -> int:
    """Into how many shares documents go, if they go on growing in number as they have."""
    expected = full_error.memory_bytes * event_count / max(next_offset, 1)
    return max(2, int(expected / (_FILL_RATIO * budget_bytes)) + 1)


def fold_by_shares(
    run: FoldRun, writer: HistoryWriter, share_count: int, end_offset: int, *, exact_encoding: bool
) -> None:
    """Fold on from where the recording stands; raises as a fold by one worker does."""
    folder = run.workspace.path.resolve().parent
    share_count *= _CONCURRENT_WORKERS
    while True:
        share_count = min(share_count, _MAX_SHARES)
        # They have no names, so that nothing of them is left if this process is killed.
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
    """What a worker said of its share beside its changes."""

    is_routed: bool
    round_trips_json: bool | None
    """See `Folded.plain`."""


class _ShareFolds:
    """All shares, some at a time."""

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
        """How far each share is."""
        self._has_ended = False
        self._progress_lock = threading.Lock()

    def fold(self, files: Sequence[Spool]) -> list[_ShareResult]:
        """Lay down what the workers say; what the first of them to fail raises."""
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
            # These states are kept already; only how they are numbered is wanted.
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
    """The batches: what is kept already ends with one of them."""
    for first, last in ((0, flushed_until), (flushed_until, end_offset)):
        for at in range(first, last, _BATCH_EVENTS):
            yield at, min(at + _BATCH_EVENTS, last)


class _ShareMerge:
    """All shares, read side by side."""

    def __init__(
        self, run: FoldRun, writer: HistoryWriter, is_routed: bool, end_offset: int
    ) -> None:
        self._run = run
        self._writer = writer
        self._is_routed = is_routed
        self._end_offset = end_offset

    def merge_spools(self, files: Sequence[Spool]) -> None:
        share_count, kept = len(files), self._writer.next_offset
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
            for first, last in _batch_ranges(kept, self._end_offset):
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
                if first >= kept:
                    self._writer.add_batch(batch_result, last)
                    if self._writer.is_full:
                        self._writer.flush(0.0)
                self._run.report_progress(self._writer)


def _reopen(spool: Spool, mode: str) -> BinaryIO:
    """The file from its beginning, to be closed by whoever reads or writes it."""
    spool.seek(0)
    return cast("BinaryIO", os.fdopen(os.dup(spool.fileno()), mode))


def _read_batch(reader: EventReader, first: int, last: int) -> pa.Table:
    events = reader.read_batch(last - first)
    assert events is not None  # noqa: S101 - the ranges end where the reader does
    return events
