"""Folding a fork: only the documents that may differ, from their states on the parent.

Everything else is what the parent's fold says, which the fork's stands on (`storage.timelines.workspace_view`).
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.compute as pc

from replay.event_fold import state_recall
from replay.event_fold.run_context import Run
from replay.forks import affected, fork_events
from replay.forks.affected_documents import AffectedDocuments
from replay.forks.fork_history_writer import ForkRecording
from replay.forks.warm_worker import Standing
from replay.history.catalogue import Folded
from replay.worker_host.batch_result import Told
from replay.worker_host.flow_control import Pace
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import Crew, NotPlainError
from replay.worker_host.worker_process import WorkerDiedError
from storage.coordinates.edit_kind import EditKind
from storage.errors import ProjectionError
from storage.timelines.workspace_view import Seen

LOOKED_AT = 20_000
"""Changes up to which a worker looks at every state for what JSON can't bring back."""


def fold(run: Run, seen: Seen, base: Folded, standing: Standing | None = None) -> int:
    """Fold what differs from the parent's fold, and keep it; the projection's number.

    `standing` is a worker that is ready already, and is used again. Raises as `folding.fold` does.
    """
    careful = base.plain is False
    while True:
        with ExitStack() as stack:
            ready = standing or stack.enter_context(Standing())
            try:
                return _fold(run, seen, base, ready, careful=careful)
            except NotPlainError:
                careful = True
                ready.close()
            except WorkerDiedError as error:
                ready.close()
                at = seen.label(error.offset) if error.offset >= 0 else "the start"
                raise ProjectionError(
                    f"The worker of {run.wanted.name} {error.what} at {at} on {seen.timeline};"
                    " nothing of this fork was kept."
                ) from error
            except BaseException:
                ready.close()  # it may be in the middle of something
                raise


def _fold(run: Run, seen: Seen, base: Folded, standing: Standing, *, careful: bool) -> int:
    started = time.monotonic()
    plain = base.plain is True and not careful
    crew, said = standing.crew(run, careful=careful, plain=plain)
    found = affected.find(seen, base, crew, run.stop_if_cancelled)
    recording = ForkRecording(run, seen, base, said, found)
    recording.room = str(crew.room)
    parents = None
    if not found.everything and len(found.keys) <= fork_events.FEW:
        parents = fork_events.reaching(seen.parent, base, found.keys, routed=crew.routed)
    passing = Passing(run, seen, base, crew, found, parents)
    for told, until in passing.through(recording.changes):
        recording.take(told, until)
        run.progress(recording)
        if recording.full:
            recording.flush(0.0)
    looked = recording.own_changes < LOOKED_AT
    recording.plain = False if said["careful"] else base.plain if looked else None
    recording.finish(time.monotonic() - started)
    return recording.number


def base_label(seen: Seen) -> str | None:
    """The projection whose states the fork goes on from, where that is another one."""
    found = [edit.said for edit in seen.fork.active if edit.kind is EditKind.BASE]
    return found[-1] if found else None


def stands_on(seen: Seen, folded: Folded, base: Folded) -> bool:
    """Whether a fork's fold still stands on what its parent's is now."""
    with seen.file.reading() as connection:
        rows = connection.execute(
            "SELECT base FROM forked WHERE projection = ? AND timeline = ?",
            [folded.number, folded.timeline],
        ).fetchall()
    return [(base.number,)] == rows


class Passing:
    """What differs on one fork, on its way through a worker."""

    def __init__(
        self,
        run: Run,
        seen: Seen,
        base: Folded,
        crew: Crew,
        found: AffectedDocuments,
        parents: pa.Table | None,
    ) -> None:
        """`parents` are all of the parent's events that reached what may differ, if there are few."""
        self._run = run
        self._seen = seen
        self._base = base
        self._crew = crew
        self._found = found
        self._parents = parents

    def through(self, first_change: int) -> Iterator[tuple[Told, int]]:
        """What the worker says of each batch, and where that ends; changes are numbered from
        `first_change` on."""
        only = None if self._found.everything else self._found.keys
        pace = Pace()
        waiting: deque[tuple[list[pa.Table], pa.Table]] = deque()
        for table in self._batches():
            left = table
            while left.num_rows:
                while not pace.room(len(waiting), sum(sent.num_rows for _, sent in waiting)):
                    yield self._heard(*waiting.popleft(), pace)
                sent, left = left.slice(0, pace.batch()), left.slice(pace.batch())
                waiting.append((self._crew.send(sent, first_change, only), sent))
        while waiting:
            yield self._heard(*waiting.popleft(), pace)

    def _heard(self, shares: list[pa.Table], sent: pa.Table, pace: Pace) -> tuple[Told, int]:
        told = self._crew.receive(shares, self._recalled, self._run.stop_if_cancelled)
        if told is None:
            raise ProjectionError(f"{self._run.wanted.name} ended before its last event.")
        pace.came_back(sent.num_rows, told.size)
        return told, sent["offset"][-1].as_py() + 1

    def _batches(self) -> Iterator[pa.Table]:
        if self._parents is None:
            yield from fork_events.many(
                self._seen, self._base, self._found, routed=self._crew.routed
            )
        else:
            yield fork_events.laid_over(self._seen.overlay, self._parents, self._found)

    def _recalled(self, frame: Frame) -> state_recall.Parts:
        """Documents as they were on the parent before anything differs."""
        before = self._found.parents_since
        place = (self._seen.parent, self._base.number, frame.header["keys"])
        if not frame.header["events"]:
            return state_recall.states(*place, before=before)
        if self._parents is None:
            return state_recall.events(*place, before=before, routed=self._crew.routed)
        own = self._parents.filter(pc.field("offset") < before)
        return state_recall.given_events(*place, own, before=before)
