"""Folds many forks of one timeline as trials: returns the result of each, and saves nothing.

The log is read once for all forks; then one worker folds the affected documents of each fork in turn.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from replay.event_fold.fold_run import FoldRun
from replay.forks import affected_search, fork_events
from replay.forks.affected_documents import AffectedDocuments
from replay.forks.fork_fold import ForkWorkerPass
from replay.forks.warm_worker import WarmWorker
from replay.history.catalogue import FoldRecord
from replay.worker_host.worker_group import LossyStateError, WorkerGroup
from replay.worker_host.worker_process import WorkerDiedError
from storage.folds.history_rows import HistoryRows
from storage.folds.route_rows import RouteRows
from storage.log.event_rows import read_event_heads
from storage.timelines.forked_workspace import ForkedWorkspace
from storage.workspace.workspace import Workspace

_FORKS_IN_MEMORY = 500
"""Forks that are tried together; the events of their documents are held in memory."""


@dataclass(frozen=True)
class FinalState:
    """A document at the end of a timeline."""

    offset: int
    """The position of its last change."""
    state: str | None
    """Its state as JSON; None if it was deleted."""


@dataclass(frozen=True)
class TrialResult:
    """The result of a trial fold of one fork."""

    forked_workspace: ForkedWorkspace
    differing_documents: Mapping[str, tuple[FinalState | None, FinalState | None]]
    """The documents that differ at the end, by key: their state on the parent, and on the fork."""
    diverged_at: Mapping[str, int]
    """The fork's position of the first difference of each of these documents."""
    failure_count: int
    """Handlers that raised, in the documents that may differ."""
    error: str | None = None
    """Why the fork couldn't be folded; None if it was."""


def try_forks(
    run: FoldRun,
    base_record: FoldRecord,
    forks: Sequence[ForkedWorkspace],
    warm_worker: WarmWorker | None = None,
) -> Iterator[TrialResult]:
    """Yield the result of each of these forks of one timeline, in their order.

    Documents must not be kept in parts, and the code must be the same as in the parent's fold
    `base_record`. Raises `ProjectionError` if the projection can't run, and `CancelledError`.
    """
    exact_encoding = base_record.round_trips_json is False
    for first in range(0, len(forks), _FORKS_IN_MEMORY):
        page = forks[first : first + _FORKS_IN_MEMORY]
        with ExitStack() as stack:
            worker = warm_worker or stack.enter_context(WarmWorker())
            try:
                yield from list(
                    _TrialRun(
                        run, base_record, worker, exact_encoding=exact_encoding
                    ).iterate_results(page)
                )
            except LossyStateError:
                exact_encoding = True
                worker.close()
                yield from list(
                    _TrialRun(
                        run, base_record, worker, exact_encoding=exact_encoding
                    ).iterate_results(page)
                )


class _TrialRun:
    """Folds some forks, one after the other, with one worker."""

    def __init__(
        self,
        run: FoldRun,
        base_record: FoldRecord,
        warm_worker: WarmWorker,
        *,
        exact_encoding: bool,
    ) -> None:
        self._run = run
        self._base_record = base_record
        self._warm_worker = warm_worker
        self._exact_encoding = exact_encoding

    def iterate_results(self, forks: Sequence[ForkedWorkspace]) -> Iterator[TrialResult]:
        worker_group = self._prepare_worker()
        affected_by_fork = _find_affected_documents(
            forks, self._base_record, worker_group, self._run
        )
        keys = {key for one in affected_by_fork for key in one.keys}
        parent = self._run.workspace
        log = fork_events.load_events_reaching(
            parent, self._base_record, keys, is_routed=worker_group.is_routed
        )
        changes = _ParentChanges(parent, self._base_record, keys)
        by_key = _rows_by_key(
            log, parent, self._base_record, keys, is_routed=worker_group.is_routed
        )
        for forked_workspace, one in zip(forks, affected_by_fork, strict=True):
            rows = sorted({row for key in one.keys for row in by_key.get(key, ())})
            own = log.take(pa.array(rows, pa.int64()))
            try:
                yield self._try_fork(worker_group, forked_workspace, one, own, changes)
            except WorkerDiedError as error:
                self._warm_worker.close()
                yield TrialResult(forked_workspace, {}, {}, 0, f"the worker {error.reason}")
            worker_group = self._prepare_worker()

    def _prepare_worker(self) -> WorkerGroup:
        worker_group, _ = self._warm_worker.prepare_worker(
            self._run, exact_encoding=self._exact_encoding, round_trips_json=False
        )
        return worker_group

    def _try_fork(
        self,
        worker_group: WorkerGroup,
        forked_workspace: ForkedWorkspace,
        affected: AffectedDocuments,
        log: pa.Table,
        changes: "_ParentChanges",
    ) -> TrialResult:
        worker_pass = ForkWorkerPass(
            self._run, forked_workspace, self._base_record, worker_group, affected, log
        )
        own_changes: dict[str, list[FinalState]] = {}
        failures = 0
        for batch_result, _ in worker_pass.iterate_results(self._base_record.change_count):
            rows = batch_result.changes.select(["key", "offset", "state"]).to_pylist()
            for row in rows:
                own_changes.setdefault(row["key"], []).append(
                    FinalState(row["offset"], row["state"])
                )
            failures += len(batch_result.failures)
        differing: dict[str, tuple[FinalState | None, FinalState | None]] = {}
        diverged: dict[str, int] = {}
        for key in sorted(affected.keys):
            before, parent_changes = changes.split_at(key, affected.parent_since_position)
            own = own_changes.get(key, [])
            last_on_parent = parent_changes[-1] if parent_changes else before
            last_on_fork = own[-1] if own else before
            if (last_on_parent and last_on_parent.state) != (last_on_fork and last_on_fork.state):
                moved_parent_changes = [
                    FinalState(forked_workspace.position_map.from_parent(c.offset), c.state)
                    for c in parent_changes
                ]
                differing[key] = (last_on_parent, last_on_fork)
                diverged[key] = _first_difference(before, moved_parent_changes, own)
        return TrialResult(forked_workspace, differing, diverged, failures)


def _first_difference(
    before: FinalState | None,
    parent_changes: Sequence[FinalState],
    own_changes: Sequence[FinalState],
) -> int:
    """Return the first position at which the states after two lists of changes differ."""
    positions = sorted({change.offset for change in (*parent_changes, *own_changes)})
    a = b = before and before.state
    theirs = {change.offset: change.state for change in parent_changes}
    ours = {change.offset: change.state for change in own_changes}
    for position in positions:
        a, b = theirs.get(position, a), ours.get(position, b)
        if a != b:
            return position
    return positions[-1]


def _find_affected_documents(
    forks: Sequence[ForkedWorkspace],
    base_record: FoldRecord,
    worker_group: WorkerGroup,
    run: FoldRun,
) -> list[AffectedDocuments]:
    """Return the affected documents of each fork, with one query and one request for all forks."""
    parent = run.workspace
    positions = sorted(
        {position for forked in forks for position in forked.position_map.hidden_parent_positions}
    )
    hidden = {event.offset: event for event in read_event_heads(parent, positions)}
    routes: dict[int, set[str]] = {}
    if worker_group.is_routed and positions:
        routes = RouteRows(parent, base_record.scope).read_keys_by_offset(positions)
    affected_by_fork = []
    for forked_workspace in forks:
        hidden_events = [
            hidden[position]
            for position in forked_workspace.position_map.hidden_parent_positions
            if position in hidden
        ]
        one = affected_search.locate_first_difference(forked_workspace, base_record, hidden_events)
        if worker_group.is_routed:
            one.keys |= {key for event in hidden_events for key in routes.get(event.offset, ())}
        else:
            one.keys |= affected_search.streams_of(hidden_events)
        affected_by_fork.append(one)
    own_events = [fork_events.build_own_events(forked.position_map) for forked in forks]
    if any(table.num_rows for table in own_events):
        keys = iter(worker_group.route_events(pa.concat_tables(own_events), run.raise_if_cancelled))
        for one, table in zip(affected_by_fork, own_events, strict=True):
            for _ in range(table.num_rows):
                one.keys |= set(next(keys))
    return affected_by_fork


class _ParentChanges:
    """All changes of these documents on the parent."""

    def __init__(self, parent: Workspace, base_record: FoldRecord, keys: set[str]) -> None:
        table = HistoryRows(parent, base_record.scope).read_changes_of(keys)
        self._changes: dict[str, list[FinalState]] = {}
        for row in table.to_pylist():
            self._changes.setdefault(row["key"], []).append(FinalState(row["offset"], row["state"]))

    def split_at(self, key: str, since_position: int) -> tuple[FinalState | None, list[FinalState]]:
        """Return the last change of a document before a position, and all changes from it on."""
        changes = self._changes.get(key, [])
        first = bisect_left(changes, since_position, key=lambda change: change.offset)
        return (changes[first - 1] if first else None), changes[first:]


def _rows_by_key(
    log: pa.Table, parent: Workspace, base_record: FoldRecord, keys: set[str], *, is_routed: bool
) -> dict[str, list[int]]:
    """Return, for each document, the indexes of its events in the table `log`."""
    rows_by_key: dict[str, list[int]] = {}
    if not is_routed:
        for row, stream in enumerate(log["stream"].to_pylist()):
            rows_by_key.setdefault(stream, []).append(row)
        return rows_by_key
    rows_at: dict[Any, int] = {offset: n for n, offset in enumerate(log["offset"].to_pylist())}
    for offset, key in RouteRows(parent, base_record.scope).read_to_keys(keys):
        rows_by_key.setdefault(key, []).append(rows_at[offset])
    return rows_by_key
