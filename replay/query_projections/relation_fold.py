"""Folding a relation: its history, whole where it says how to, else over a stretch of the log.

As the fold of handlers does, it writes what it has found every few seconds, so that this can be
travelled, and goes on from there.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pyarrow as pa

from replay.event_fold.history_writer import OvertakenError, Recording
from replay.event_fold.run_context import Run
from replay.history import catalogue
from replay.history.catalogue import Folded
from replay.projection.span import Span
from replay.query_projections import change_numbering, per_event
from replay.query_projections.engines import Relation, opened
from replay.query_projections.evaluation import Asking, asking
from replay.query_projections.per_key import OwnEvents
from storage.errors import CancelledError, ProjectionError
from storage.log.positions import START

_KEPT_SECONDS = 3.0
"""After which what was found is written."""


def fold(run: Run, span: Span | None, *, force: bool) -> int:
    """Fold what is missing; the projection's number. See `replay.fold.fold`."""
    while True:
        try:
            with opened(run.wanted, run.means.patience, run.means.memory, _stop(run)) as relation:
                return _Folding(run, relation).fold(span, force=force)
        except OvertakenError:
            force = False  # another process folds the same: go on from where it has come to


def _stop(run: Run) -> Callable[[], None]:
    def check() -> None:
        if run.cancelled():
            raise CancelledError("Stopped; what was folded before is kept.")

    return check


class _Folding:
    """One relation, on its way through the log."""

    def __init__(self, run: Run, relation: Relation) -> None:
        self._run = run
        self._relation = relation
        self._name = run.wanted.name
        self._since = time.monotonic()

    def fold(self, span: Span | None, *, force: bool) -> int:
        own = self._whole(span)
        if own is not None:
            span = Span(0, self._run.total - 1)
        elif span is None:
            # What was asked before is as good as the end of the log.
            before = None if force else self._before()
            total = self._run.total
            span = Span(before.first, before.folded - 1) if before else Span(total, total - 1)
        recording = self._begun(span, force=force)
        if not recording.folded:
            recording.first = span.first
            self._base(recording, span)
        trouble: ProjectionError | None = None
        while recording.folded <= span.last and trouble is None:
            try:
                self._further(recording, span, own)
            except ProjectionError as error:
                trouble = error
            self._keep(recording)
            self._run.progress(recording)
        self._run.forget_surplus()
        if trouble is not None:
            raise trouble
        return self._run.number

    def _whole(self, span: Span | None) -> OwnEvents | None:
        """The way through the whole log, where there is one."""
        if self._relation.own is None:
            return None
        own = OwnEvents(self._relation.own, self._name)
        try:
            with self._asking() as ask:
                own.refuse(ask)
        except ProjectionError:
            if span is None:
                raise
            return None
        return own

    def _begun(self, span: Span, *, force: bool) -> Recording:
        """The history to go on with: one that reaches up to the span, or none."""
        before = self._before()
        goes_on = before is not None and before.first <= span.first <= before.folded
        return self._run.register(self._relation.ready, force=force or not goes_on)

    def _before(self) -> Folded | None:
        """What is folded of this code."""
        before = catalogue.find(self._run.workspace, self._run.wanted)
        return before if before is not None and before.code_unchanged else None

    def _base(self, recording: Recording, span: Span) -> None:
        """What there was before the span."""
        if span.base != START:
            with self._asking() as ask:
                self._take(ask, recording, per_event.base(ask, span.base), None, span.first)
        self._keep(recording)

    def _further(self, recording: Recording, span: Span, own: OwnEvents | None) -> None:
        first = recording.folded
        with self._asking() as ask:
            if own is not None:
                stretch = own.stretch(ask, first, self._run.total)
                self._take(ask, recording, stretch.found, stretch.routes, stretch.until)
            else:
                found, until = per_event.stretch(
                    ask, first, span.last, _KEPT_SECONDS, lambda _: self._run.obey(recording)
                )
                self._take(ask, recording, found, None, until)

    def _take(
        self,
        ask: Asking,
        recording: Recording,
        found: pa.Table,
        routes: pa.Table | None,
        until: int,
    ) -> None:
        told = change_numbering.told(
            ask,
            found,
            routes,
            projection=self._run.number,
            timeline=self._run.workspace.timeline,
            next_change=recording.changes,
        )
        recording.take(told, until)

    def _asking(self) -> AbstractContextManager[Asking]:
        return asking(self._run.workspace, self._relation, self._name, self._run.cancelled)

    def _keep(self, recording: Recording) -> None:
        now = time.monotonic()
        recording.plain = True
        recording.flush(now - self._since)
        self._since = now
