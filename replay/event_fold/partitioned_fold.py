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
from replay.event_fold.history_writer import Recording
from replay.event_fold.run_context import Run
from replay.worker.protocol import wire
from replay.worker_host import event_frame
from replay.worker_host.batch_result import Together, told
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import FullError, refuse
from replay.worker_host.worker_process import Worker, unloadable
from storage.errors import CancelledError

_BATCH = 500_000
"""Events of the log that a share's batch is out of."""
_AHEAD = 2
_AT_ONCE = min(2, os.cpu_count() or 1)
_MOST = 400
"""Shares, as each has a file that is open; those of so many take the room that they need."""
_FILLED = 0.6
"""How much of its room a share takes, as keys are no more even than chance is."""
_PACKED = "lz4"


Spool = IO[bytes]


def parts_for(full: FullError, folded: int, total: int, room: int) -> int:
    """Into how many shares documents go, if they go on growing in number as they have."""
    expected = full.memory * total / max(folded, 1)
    return max(2, int(expected / (_FILLED * room)) + 1)


def fold(run: Run, recording: Recording, parts: int, until: int, *, careful: bool) -> None:
    """Fold on from where the recording stands; raises as a fold by one worker does."""
    folder = run.workspace.path.resolve().parent
    parts *= _AT_ONCE
    while True:
        parts = min(parts, _MOST)
        # They have no names, so that nothing of them is left if this process is killed.
        with ExitStack() as opened:
            files = [opened.enter_context(tempfile.TemporaryFile(dir=folder)) for _ in range(parts)]
            try:
                said = _Shares(run, recording, parts, until, careful=careful).fold(files)
            except FullError:
                parts *= 2
                continue
            plain = [share.plain for share in said]
            recording.plain = False if False in plain else None if None in plain else True
            _Together(run, recording, said[0].routed, until).read(files)
            return


@dataclass(frozen=True)
class _Said:
    """What a worker said of its share beside its changes."""

    routed: bool
    plain: bool | None
    """See `Folded.plain`."""


class _Shares:
    """All shares, some at a time."""

    def __init__(
        self, run: Run, recording: Recording, parts: int, until: int, *, careful: bool
    ) -> None:
        self._run = run
        self._recording = recording
        self._parts = parts
        self._until = until
        self._careful = careful
        self._done = [0] * parts
        """How far each share is."""
        self._ended = False
        self._telling = threading.Lock()

    def fold(self, files: Sequence[Spool]) -> list[_Said]:
        """Lay down what the workers say; what the first of them to fail raises."""
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            shares = [threads.submit(self._fold, part, file) for part, file in enumerate(files)]
            try:
                for share in as_completed(shares):
                    share.result()
            finally:
                self._ended = True
                threads.shutdown(cancel_futures=True)
        return [share.result() for share in shares]

    def _fold(self, part: int, spool: Spool) -> _Said:
        means = self._run.means
        with (
            Worker(
                self._run.wanted,
                self._run.calling,
                careful=self._careful,
                part=part,
                parts=self._parts,
                patience=means.patience,
                memory=means.memory and means.memory // _AT_ONCE,
                room=means.room // _AT_ONCE if self._parts < _MOST else 0,
            ) as worker,
            pa.output_stream(_again(spool, "wb"), compression=_PACKED) as out,
        ):
            ready = worker.receive()
            if ready.kind == "unusable":
                raise unloadable(self._run.wanted, ready.header)
            routed = bool(ready.ready_for("fold").header["routed"])
            self._through(worker, part, out, routed=routed)
            worker.finish()
            frame = worker.receive(self._check)
            refuse(frame)
            return _Said(routed, frame.expected("done").header.get("plain"))

    def _through(self, worker: Worker, part: int, out: BinaryIO, *, routed: bool) -> None:
        only = None if routed else part
        reader = EventReader(self._run.workspace, 0, self._until, self._parts, only=only)
        waiting: deque[int] = deque()
        for first, last in _ranges(self._recording.folded, self._until):
            events = _batch(reader, first, last)
            header, parts = event_frame.frame(events, self._run.calling.answers(events))
            if first == 0:
                header["first_change"] = 0
            worker.send(header, parts)
            waiting.append(last)
            if len(waiting) > _AHEAD:
                self._lay_down(worker, part, out, waiting.popleft())
        for last in waiting:
            self._lay_down(worker, part, out, last)

    def _lay_down(self, worker: Worker, part: int, out: BinaryIO, last: int) -> None:
        frame = worker.receive(self._check)
        refuse(frame)
        frame.expected("folded")
        parts = list(frame.parts)
        if last <= self._recording.folded:
            # These states are kept already; only how they are numbered is wanted.
            parts[1], parts[2] = bytes(len(parts[1])), b""
        wire.send(out, dict(frame.header), tuple(parts))
        self._done[part] = last
        with self._telling:
            self._run.progress(self._recording, done=sum(self._done) // self._parts)

    def _check(self) -> None:
        self._run.obey(self._recording)
        if self._ended:
            raise CancelledError("Another share has ended the fold.")


def _ranges(kept: int, until: int) -> Iterator[tuple[int, int]]:
    """The batches: what is kept already ends with one of them."""
    for first, last in ((0, kept), (kept, until)):
        for at in range(first, last, _BATCH):
            yield at, min(at + _BATCH, last)


class _Together:
    """All shares, read side by side."""

    def __init__(self, run: Run, recording: Recording, routed: bool, until: int) -> None:
        self._run = run
        self._recording = recording
        self._routed = routed
        self._until = until

    def read(self, files: Sequence[Spool]) -> None:
        parts, kept = len(files), self._recording.folded
        splits = 1 if self._routed else parts
        reader = EventReader(
            self._run.workspace, 0, self._until, splits, columns='"offset", stream'
        )
        together = Together(parts, 0)
        with ExitStack() as opened:
            spools = [
                opened.enter_context(pa.input_stream(_again(file, "rb"), compression=_PACKED))
                for file in files
            ]
            for first, last in _ranges(kept, self._until):
                events = _batch(reader, first, last)
                shares = [events] * parts
                if splits > 1:
                    shares = [events.filter(pc.equal(events["share"], n)) for n in range(parts)]
                frames = [Frame(*wire.receive(spool)) for spool in spools]
                both = together.put(
                    [told(f, s.combine_chunks()) for f, s in zip(frames, shares, strict=True)]
                )
                if first >= kept:
                    self._recording.take(both, last)
                    if self._recording.full:
                        self._recording.flush(0.0)
                self._run.progress(self._recording)


def _again(spool: Spool, mode: str) -> BinaryIO:
    """The file from its beginning, to be closed by whoever reads or writes it."""
    spool.seek(0)
    return cast("BinaryIO", os.fdopen(os.dup(spool.fileno()), mode))


def _batch(reader: EventReader, first: int, last: int) -> pa.Table:
    events = reader.next(last - first)
    assert events is not None  # noqa: S101 - the ranges end where the reader does
    return events
