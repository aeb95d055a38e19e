"""Folding: the log through a worker into a history, from where the last fold of it ended.

The parent reads batches, feeds the worker, and writes what it says. The worker is ahead of the
writing by a bounded number of batches. Folding is begun anew only where the code has changed.
"""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from gateway.broker import Ask
from replay.event_fold import event_reader, fold_restart, partitioned_fold, state_recall
from replay.event_fold.event_reader import EventReader
from replay.event_fold.history_writer import OvertakenError, Recording
from replay.event_fold.run_context import Means, OnProgress, Run
from replay.forks import fork_fold as forks
from replay.forks.warm_worker import Standing
from replay.history import catalogue
from replay.history.catalogue import Folded
from replay.projection import declaration
from replay.projection.reference import Reference, answered_on
from replay.projection.span import Span
from replay.query_projections import relation_fold as relational
from replay.worker_host.flow_control import Pace
from replay.worker_host.gateway_bridge import Calling
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import Crew, FullError, NotPlainError
from replay.worker_host.worker_process import PATIENCE, WorkerDiedError
from storage.db.query import rows as rows_of
from storage.errors import CancelledError, ProjectionError, StaleError
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace

_FLUSH_SECONDS = 5.0
_FIRST_FLUSH_SECONDS = 0.15
"""After which the first states are kept, to be looked at; twice as long after each flush."""
_LAST_WORDS_SECONDS = 1.0
"""How long a cancelled worker may take to finish what it has begun."""


def fold(
    workspace: Workspace,
    wanted: Reference,
    *,
    force: bool = False,
    workers: int = 1,
    patience: float = PATIENCE,
    memory: int | None = None,
    span: Span | None = None,
    ask: Ask | None = None,
    on_progress: OnProgress | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    standing: Standing | None = None,
) -> Folded:
    """Fold what is missing of a projection's history, and return what it is now.

    On a fork that is what differs from its parent, which is folded before; `standing` is a worker
    that is kept ready for that.

    Several `workers` share the documents among them, and `memory` in bytes; the history is the
    same. A projection over all events that says nothing of its documents is folded over the `span`,
    or at the end of the log; any other is folded whole. `ask` asks a person what answers a call that
    was not recorded, where its port says so. Raises
    `ProjectionError` where the projection can't be run or its worker died (what was folded before
    is kept), and `CancelledError` where `cancelled` said so. When the workspace is rewritten meanwhile
    (a removal), the log is folded again from its start; a fork raises `StaleError` when it is edited.
    """

    def once(*, force: bool) -> Folded:
        if isinstance(workspace, Seen) and not declaration.over_all_events(wanted.text):
            parent = partial(fold, workers=workers, patience=patience, memory=memory, ask=ask)
            parent = partial(parent, on_progress=on_progress, cancelled=cancelled)
            means = Means(1, patience, memory)
            return _fold_fork(
                workspace, wanted, means, parent, ask, on_progress, cancelled, standing, force=force
            )
        before = catalogue.find(workspace, wanted)
        total = event_reader.count(workspace)
        over_all_events = declaration.over_all_events(wanted.text)
        whole = Span(0, total - 1)
        there = before is not None and before.covers(span or whole if over_all_events else whole)
        # What handlers were answered, and what a fork is, may be another thing by now.
        fresh = before is None or (before.answers_unchanged and before.digest == workspace.digest)
        force = force or not fresh
        if before and not force and there and before.code_unchanged:
            return before
        means = Means(workers, patience, memory)
        with Calling(workspace, wanted, ask=ask) as calling:
            run = Run(workspace, wanted, total, means, on_progress, cancelled, calling)
            if over_all_events:
                number = relational.fold(run, span, force=force)
            else:
                try:
                    number = _Folding(run).to_the_end(force=force)
                finally:
                    calling.keep(run.number)
        return replace(catalogue.by_number(workspace, number), may_read_files=True)

    return fold_restart.until_current(workspace, once, force=force)


def _fold_fork(
    workspace: Seen,
    wanted: Reference,
    means: Means,
    whole: Callable[..., Folded],
    ask: Ask | None,
    on_progress: OnProgress | None,
    cancelled: Callable[[], bool],
    standing: Standing | None,
    *,
    force: bool,
) -> Folded:
    """What differs on a fork; `whole` folds its parent."""
    label = forks.base_label(workspace)
    parent = workspace.parent
    base = whole(parent, wanted) if label is None else catalogue.by_name(parent, label)
    before = catalogue.find(workspace, wanted)
    total = event_reader.count(workspace)
    if (
        before is not None
        and not force
        and before.code_unchanged
        and before.answers_unchanged
        and before.digest == workspace.digest
        and before.folded == total
        and forks.stands_on(workspace, before, base)
    ):
        return before
    effective = answered_on(workspace, wanted)
    with Calling(workspace, effective, ask=ask) as calling:
        run = Run(workspace, effective, total, means, on_progress, cancelled, calling)
        number = forks.fold(run, workspace, base, standing)
        calling.keep(number)
    return replace(catalogue.by_number(workspace, number), may_read_files=True)


class _Folding:
    """One run, over as many workers as it takes."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._careful = False
        self._plain: bool | None = None

    def to_the_end(self, *, force: bool) -> int:
        """Fold all there is; a state that isn't plain, or a death, takes a further worker."""
        until = self._run.total
        death: WorkerDiedError | None = None
        while True:
            try:
                self._with_worker(until, force=force)
            except NotPlainError:
                self._careful, force = True, True
                continue
            except OvertakenError:
                # Another process folds the same: go on from where it has come to.
                force = False
                continue
            except WorkerDiedError as error:
                if error.offset < 0:
                    raise ProjectionError(
                        f"{self._run.wanted.name} {error.what} while it was being loaded."
                    ) from error
                death, force = death or error, False
                # Everything up to the event that killed it is worth having; but what takes too
                # much memory, or time, may be killed before it again.
                kept = self._kept()
                first = until == self._run.total
                # The worker wrote the offset, and its code is a stranger's.
                died = min(error.offset, self._run.total - 1)
                until = died if first else (kept + died) // 2
                if until > kept:
                    continue
            self._run.forget_surplus()
            if death is not None:
                raise ProjectionError(self._obituary(death)) from death
            return self._run.number

    def _with_worker(self, until: int, *, force: bool) -> None:
        started = time.monotonic()
        resuming = not force and self._resumable()
        if resuming and self._plain is False:
            self._careful = True
        with Crew(
            self._run.wanted,
            self._run.means.workers,
            self._run.calling,
            careful=self._careful,
            resuming=resuming,
            plain=self._plain is True,
            patience=self._run.means.patience,
            memory=self._run.means.memory,
            room=self._run.means.room,
        ) as crew:
            ready = crew.ready()
            self._careful = bool(ready["careful"])
            recording = self._run.register(ready, force=force)
            recording.plain = False if self._careful else None
            recording.room = str(crew.room)
            if recording.folded and not resuming:
                # Its code is as it was after all (a file was touched): start again, resuming.
                return self._with_worker(until, force=False)
            try:
                _Session(self._run, crew, recording, until, started, plain=self._plain).run()
                return None
            except FullError as error:
                full = error
        parts = partitioned_fold.parts_for(full, recording.folded, until, self._run.means.room)
        partitioned_fold.fold(self._run, recording, parts, until, careful=self._careful)
        recording.flush(time.monotonic() - started)
        return None

    def _resumable(self) -> bool:
        before = catalogue.find(self._run.workspace, self._run.wanted)
        if before is None or not before.code_unchanged:
            return False
        self._plain = before.plain
        return before.folded > 0

    def _kept(self) -> int:
        found = catalogue.find(self._run.workspace, self._run.wanted)
        return 0 if found is None else found.folded

    def _obituary(self, death: WorkerDiedError) -> str:
        with self._run.workspace.reading() as connection:
            rows = rows_of(
                connection,
                'SELECT type, stream FROM events WHERE "offset" = ?',
                [death.offset],
            )
        event = f"{rows[0]['type']} of {rows[0]['stream']}" if rows else "an event"
        return (
            f"The worker of {self._run.wanted.name} {death.what} at offset {death.offset:,} ({event});"
            " what was folded before it is kept."
        )


class _Session:
    """Batches through one crew of workers, from where the recording stands."""

    def __init__(
        self,
        run: Run,
        crew: Crew,
        recording: Recording,
        until: int,
        started: float,
        *,
        plain: bool | None,
    ) -> None:
        """`plain` is what was known of the states that are resumed from; see `Folded.plain`."""
        self._run = run
        self._plain = plain
        self._crew = crew
        self._recording = recording
        self._flushed = started
        self._began = time.monotonic()
        self._unflushed_seconds = _FIRST_FLUSH_SECONDS
        # What these workers have met says nothing of the documents that they haven't.
        self._told_by_workers = recording.folded == 0 or plain is True
        self._events = EventReader(run.workspace, recording.folded, until, crew.splits)
        self._on_the_way: deque[_Batch] = deque()
        self._pace = Pace()

    def run(self) -> None:
        try:
            self._feed()
            while self._on_the_way:
                self._hear(self._obey)
                self._run.progress(self._recording)
                self._feed()
            # The workers look through their documents meanwhile.
            self._crew.finish()
            self._flush()
            self._last_words()
        except (CancelledError, KeyboardInterrupt):
            deadline = time.monotonic() + _LAST_WORDS_SECONDS
            with contextlib.suppress(WorkerDiedError, NotPlainError, FullError, TimeoutError):
                self._crew.drop_queued()
                self._crew.finish()
                self._last_words(lambda: _until(deadline))
            # When another process has folded on, or rewritten the workspace, nothing of this is kept.
            with contextlib.suppress(OvertakenError, StaleError):
                self._flush()
            raise
        except (WorkerDiedError, FullError):
            self._flush()
            raise
        self._flush()

    def _obey(self) -> None:
        self._run.obey(self._recording)

    def _last_words(self, check: Callable[[], None] = lambda: None) -> None:
        """Hear what is still on its way, and whether all states are plain."""
        while self._on_the_way and self._hear(check):
            pass
        plain = self._crew.last_word(self._recalled, check)
        self._recording.plain = plain if self._told_by_workers else self._plain

    def _feed(self) -> None:
        while self._pace.room(len(self._on_the_way), sum(b.events for b in self._on_the_way)):
            table = self._events.next(self._pace.batch())
            if table is None:
                return
            shares = self._crew.send(table, self._recording.changes)
            self._on_the_way.append(_Batch(shares, table.num_rows, self._events.reached))

    def _hear(self, check: Callable[[], None]) -> bool:
        """Keep what was done with the next batch; false where the workers have ended before it."""
        batch = self._on_the_way[0]
        told = self._crew.receive(batch.shares, self._recalled, check)
        if told is None:
            return False
        self._on_the_way.popleft()
        self._pace.came_back(batch.events, told.size)
        self._recording.take(told, batch.until)
        since = time.monotonic() - max(self._flushed, self._began)
        if self._recording.full or since > self._unflushed_seconds:
            self._flush(alone=False)
            self._unflushed_seconds = min(2 * self._unflushed_seconds, _FLUSH_SECONDS)
        return True

    def _flush(self, *, alone: bool = True) -> None:
        now = time.monotonic()
        self._recording.flush(now - self._flushed, alone=alone)
        self._flushed = now

    def _recalled(self, frame: Frame) -> state_recall.Parts:
        """The documents that a resuming worker asks for: their states, or all of their events."""
        keys, before = frame.header["keys"], self._recording.folded
        place = (self._run.workspace, self._run.number, keys)
        if frame.header["events"]:
            return state_recall.events(*place, before=before, routed=self._crew.routed)
        return state_recall.states(*place, before=before)


@dataclass(frozen=True)
class _Batch:
    """A batch that the workers have been given."""

    shares: list[pa.Table]
    events: int
    until: int


def _until(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError
