"""Recording: the log through a worker whose calls go out, to keep what they are answered.

Handlers see the real answers, so nothing that they make of them is kept: the history is always
folded from the redacted recordings, and no secret reaches a state. What is kept so far survives a
kill; a command that was on its way then is known as pending.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from gateway import recording_store
from gateway.calls import Answer, Decision
from gateway.recording_store import Recorded
from gateway.settings import Settings
from replay.event_fold import state_recall
from replay.event_fold.event_reader import EventReader
from replay.history.catalogue import Folded
from replay.projection import reference
from replay.projection.declaration import over_all_events
from replay.projection.reference import Reference
from replay.projection.span import Span
from replay.worker_host.batch_result import Told
from replay.worker_host.gateway_bridge import Calling
from replay.worker_host.worker_frames import Frame
from replay.worker_host.worker_group import Crew
from replay.worker_host.worker_process import PATIENCE, WorkerDiedError
from storage.errors import ProjectionError
from storage.workspace.workspace import Workspace

_BATCH = 256
"""Events that go to the worker at once: what they ask takes longer than handling them."""
_AHEAD = 2
_FLUSH_SECONDS = 2.0
_FLUSH_CALLS = 2_000

OnProgress = Callable[[int, int, int], None]
"""Takes the events handled, how many there are, and the calls that were made."""


@dataclass
class Run:
    """What came of a run that went out."""

    calls: int = 0
    """That were kept, or made where nothing is kept."""
    errors: int = 0
    """Of them, those that failed; and those that could not be made."""
    suppressed: int = 0
    """Of them, commands that were not sent."""
    pending: list[Recorded] = field(default_factory=list)
    """Commands of an earlier run that were not sent again, because nobody saw how they ended."""
    missed: str | None = None
    """Why the first could not be made that wasn't."""
    failures: int = 0
    """Handlers that raised."""
    uncalled: list[str] = field(default_factory=list)
    """Ports that commands might have gone out to, and on which none was called."""


@dataclass(frozen=True)
class Changed:
    """A recording that the outside answers otherwise now."""

    recorded: Recorded
    now: Answer
    differences: list[str]


def record(
    workspace: Workspace,
    wanted: Reference,
    settings: Settings,
    *,
    before: Folded | None = None,
    span: Span | None = None,
    patience: float = PATIENCE,
    on_progress: OnProgress | None = None,
    cancelled: Callable[[], None] = lambda: None,
) -> tuple[Run, list[Changed]]:
    """Run a projection's handlers with its calls going out, and keep the answers.

    What was recorded live for it at these events is replaced. With a `span` only its events are
    handled, from the states of a history that was folded `before` it. `settings` has the mode:
    `record`, `live` (nothing is kept) or `audit` (what is answered otherwise now is returned).
    Raises `ProjectionError` where it can't be run, `StaleError` where the workspace was rewritten
    meanwhile, and what `cancelled` raises.
    """
    if wanted.command or over_all_events(wanted.text):
        raise ProjectionError(
            f"{wanted.name} makes no calls that could be recorded: only Python handlers have a gateway."
        )
    with Calling(workspace, replace(wanted, settings=settings)) as calling:
        run = _Recorder(workspace, calling, wanted, span, before, on_progress, cancelled)
        try:
            run.through(patience)
        finally:
            redactor = calling.broker.redactor
            recording_store.look_again(workspace, redactor, "projection = ?", [wanted.name])
        unknown = sorted(settings.send - calling.broker.commanded)
        run.made.uncalled = unknown
        run.made.pending = calling.broker.pending
        changed = [Changed(*found) for found in calling.broker.audited]
    return run.made, changed


class _Recorder:
    def __init__(
        self,
        workspace: Workspace,
        calling: Calling,
        wanted: Reference,
        span: Span | None,
        before: Folded | None,
        on_progress: OnProgress | None,
        cancelled: Callable[[], None],
    ) -> None:
        self.made = Run()
        self._workspace = workspace
        self._calling = calling
        self._wanted = wanted
        self._before = before
        self._on_progress = on_progress
        self._cancelled = cancelled
        reader = EventReader.whole(workspace, 1)
        first = span.first if span is not None else 0
        self._until = reader.until if span is None else min(span.last + 1, reader.until)
        self._events = EventReader(workspace, first, self._until, 1)
        self._first = self._done = first
        self._replaced = first
        self._flushed = time.monotonic()

    def through(self, patience: float) -> None:
        # With care a worker never begins anew, which would make calls twice.
        with Crew(
            replace(self._wanted, settings=self._calling.settings),
            1,
            self._calling,
            careful=True,
            resuming=self._first > 0,
            plain=self._before is not None and self._before.plain is True,
            patience=patience,
        ) as crew:
            ready = crew.ready()
            self._calling.broker.code = reference.identity(ready["files"], ready["python"])
            try:
                self._feed(crew)
            except WorkerDiedError as error:
                raise ProjectionError(
                    f"The worker of {self._wanted.name} {error.what} at offset {error.offset:,};"
                    " the calls before it are kept."
                ) from error
            finally:
                self._flush()

    def _feed(self, crew: Crew) -> None:
        waiting: deque[Any] = deque()
        while True:
            while len(waiting) < _AHEAD and (table := self._events.next(_BATCH)) is not None:
                waiting.append((crew.send(table, 0), table["offset"][-1].as_py() + 1))
            if not waiting:
                return
            shares, until = waiting.popleft()
            told = crew.receive(shares, self._recalled, self._check)
            if told is None:
                return
            self._take(told)
            self._done = until
            if self._on_progress is not None:
                self._on_progress(self._done, self._until, self.made.calls)
            if self._due():
                self._flush()

    def _take(self, told: Told) -> None:
        made = self.made
        made.failures += len(told.failures)
        for one in told.decided:
            decision = Decision(one["decision"])
            if decision is Decision.MISSED:
                made.errors += 1
                made.missed = made.missed or f"{one['port']}.{one['operation']}: {one['reason']}"
            elif decision in (Decision.LIVE, Decision.SUPPRESSED, Decision.PENDING):
                made.calls += 1
                made.suppressed += decision is not Decision.LIVE
                failed = one["response"] is not None and one["response"].startswith('{"error":')
                made.errors += failed and decision is Decision.LIVE
        if told.calls is not None:
            made.calls += told.calls.num_rows
            made.suppressed += told.calls["decision"].to_pylist().count(Decision.SUPPRESSED.value)

    def _due(self) -> bool:
        since = time.monotonic() - self._flushed
        return since > _FLUSH_SECONDS or len(self._calling.broker.kept) > _FLUSH_CALLS

    def _check(self) -> None:
        self._cancelled()
        if self._due():
            self._flush()

    def _flush(self) -> None:
        """Keep what was answered, in place of what was recorded at these events before."""
        broker = self._calling.broker
        kept, broker.kept = broker.kept, []
        self._flushed = time.monotonic()
        if not self._calling.settings.mode.keeps:
            return
        last = max([self._done - 1, *(one.call.offset for one in kept)])
        with self._workspace.writing(generation=self._calling.generation) as connection:
            if last >= self._replaced:
                recording_store.forget(connection, self._wanted.name, self._replaced, last)
                self._replaced = last + 1
            recording_store.keep(connection, kept)

    def _recalled(self, frame: Frame) -> state_recall.Parts:
        if self._before is None:
            raise ProjectionError("Nothing was folded before these events.")
        keys = frame.header["keys"]
        place = (self._workspace, self._before.number, keys)
        if frame.header["events"]:
            return state_recall.events(*place, before=self._first, routed=False)
        return state_recall.states(*place, before=self._first)
