"""Trying many forks of one timeline: what each would come to, without keeping any of them.

The log is read once for all of them; then one worker folds what differs on each, one after the other.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from replay.event_fold import state_recall
from replay.event_fold.run_context import Run
from replay.forks import affected, fork_events
from replay.forks.affected_documents import AffectedDocuments
from replay.forks.fork_fold import Passing
from replay.forks.warm_worker import Standing
from replay.history.catalogue import Folded
from replay.worker_host.worker_group import Crew, NotPlainError
from replay.worker_host.worker_process import WorkerDiedError
from storage.db.query import arrow
from storage.timelines.workspace_view import Seen
from storage.workspace.workspace import Workspace

_AT_ONCE = 500
"""Forks whose documents are held in memory at once."""


@dataclass(frozen=True)
class Final:
    """A document at the end: its JSON, None where it isn't there, and its last change."""

    offset: int
    state: str | None


@dataclass(frozen=True)
class Tried:
    """What a fork came to."""

    seen: Seen
    differing: Mapping[str, tuple[Final | None, Final | None]]
    """Documents that differ at the end: what they are on the parent, and here."""
    diverged: Mapping[str, int]
    """The place of the first change of each that the parent doesn't have in the same way."""
    failures: int
    """How many handlers raised, of the documents that were touched."""
    trouble: str | None = None
    """Why it couldn't be folded."""


def tries(
    run: Run, base: Folded, forks: Sequence[Seen], standing: Standing | None = None
) -> Iterator[Tried]:
    """What each of some forks of one timeline comes to, in their order.

    Documents must not be in parts, and the code must be the parent's. Raises `ProjectionError` where
    the projection can't be run, and `CancelledError`.
    """
    careful = base.plain is False
    for first in range(0, len(forks), _AT_ONCE):
        page = forks[first : first + _AT_ONCE]
        with ExitStack() as stack:
            ready = standing or stack.enter_context(Standing())
            try:
                yield from list(_Trying(run, base, ready, careful=careful).all(page))
            except NotPlainError:
                careful = True
                ready.close()
                yield from list(_Trying(run, base, ready, careful=careful).all(page))


class _Trying:
    """Some forks, one after the other, through one worker."""

    def __init__(self, run: Run, base: Folded, standing: Standing, *, careful: bool) -> None:
        self._run = run
        self._base = base
        self._standing = standing
        self._careful = careful

    def all(self, forks: Sequence[Seen]) -> Iterator[Tried]:
        crew = self._crew()
        found = _differences(forks, self._base, crew, self._run)
        keys = {key for one in found for key in one.keys}
        parent = self._run.workspace
        log = fork_events.reaching(parent, self._base, keys, routed=crew.routed)
        changes = _Changes(parent, self._base, keys)
        by_key = _by_key(log, parent, self._base, keys, routed=crew.routed)
        for seen, one in zip(forks, found, strict=True):
            rows = sorted({row for key in one.keys for row in by_key.get(key, ())})
            own = log.take(pa.array(rows, pa.int64()))
            try:
                yield self._one(crew, seen, one, own, changes)
            except WorkerDiedError as error:
                self._standing.close()
                yield Tried(seen, {}, {}, 0, f"the worker {error.what}")
            crew = self._crew()

    def _crew(self) -> Crew:
        crew, _ = self._standing.crew(self._run, careful=self._careful, plain=False)
        return crew

    def _one(
        self, crew: Crew, seen: Seen, found: AffectedDocuments, log: pa.Table, changes: "_Changes"
    ) -> Tried:
        passing = Passing(self._run, seen, self._base, crew, found, log)
        here: dict[str, list[Final]] = {}
        failures = 0
        for told, _ in passing.through(self._base.changes):
            rows = told.changes.select(["key", "offset", "state"]).to_pylist()
            for row in rows:
                here.setdefault(row["key"], []).append(Final(row["offset"], row["state"]))
            failures += len(told.failures)
        differing: dict[str, tuple[Final | None, Final | None]] = {}
        diverged: dict[str, int] = {}
        for key in sorted(found.keys):
            before, there = changes.around(key, found.parents_since)
            mine = here.get(key, [])
            last_there = there[-1] if there else before
            last_here = mine[-1] if mine else before
            if (last_there and last_there.state) != (last_here and last_here.state):
                moved = [Final(seen.overlay.from_parent(c.offset), c.state) for c in there]
                differing[key] = (last_there, last_here)
                diverged[key] = _first(before, moved, mine)
        return Tried(seen, differing, diverged, failures)


def _first(before: Final | None, there: Sequence[Final], here: Sequence[Final]) -> int:
    """The place from which on two rows of changes differ."""
    places = sorted({change.offset for change in (*there, *here)})
    a = b = before and before.state
    theirs = {change.offset: change.state for change in there}
    ours = {change.offset: change.state for change in here}
    for place in places:
        a, b = theirs.get(place, a), ours.get(place, b)
        if a != b:
            return place
    return places[-1]


def _differences(
    forks: Sequence[Seen], base: Folded, crew: Crew, run: Run
) -> list[AffectedDocuments]:
    """What may differ on each; the log and the worker are asked once for all."""
    parent = run.workspace
    places = sorted({place for seen in forks for place in seen.overlay.hidden})
    with parent.reading() as connection:
        hidden = {row["offset"]: row for row in affected.events_at(connection, places)}
        routes: dict[int, set[str]] = {}
        if crew.routed and places:
            connection.register("hidden_places", pa.table({"offset": pa.array(places, pa.int64())}))
            rows = connection.execute(
                'SELECT "offset", key FROM routes SEMI JOIN hidden_places USING ("offset")'
                " WHERE projection = ? AND timeline = ?",
                [base.number, base.timeline],
            ).fetchall()
            for offset, key in rows:
                routes.setdefault(offset, set()).add(key)
    found = []
    for seen in forks:
        mine = [hidden[place] for place in seen.overlay.hidden if place in hidden]
        one = affected.begun(seen, base, mine)
        if crew.routed:
            one.keys |= {key for row in mine for key in routes.get(row["offset"], ())}
        else:
            one.keys |= {row["stream"] for row in mine if row["stream"] is not None}
        found.append(one)
    own = [fork_events.own_events(seen.overlay) for seen in forks]
    if any(table.num_rows for table in own):
        keys = iter(crew.routes(pa.concat_tables(own), run.stop_if_cancelled))
        for one, table in zip(found, own, strict=True):
            for _ in range(table.num_rows):
                one.keys |= set(next(keys))
    return found


class _Changes:
    """All changes of some documents on the parent."""

    def __init__(self, parent: Workspace, base: Folded, keys: set[str]) -> None:
        with parent.reading() as connection:
            state_recall.want(connection, sorted(keys))
            table = arrow(
                connection,
                'SELECT key, "offset", state FROM history WHERE projection = ? AND timeline = ?'
                " AND key IN (SELECT key FROM wanted) ORDER BY key, change",
                [base.number, base.timeline],
            )
        self._changes: dict[str, list[Final]] = {}
        for row in table.to_pylist():
            self._changes.setdefault(row["key"], []).append(Final(row["offset"], row["state"]))

    def around(self, key: str, since: int) -> tuple[Final | None, list[Final]]:
        """The last change of a document before a place, and those from there on."""
        found = self._changes.get(key, [])
        first = bisect_left(found, since, key=lambda change: change.offset)
        return (found[first - 1] if first else None), found[first:]


def _by_key(
    log: pa.Table, parent: Workspace, base: Folded, keys: set[str], *, routed: bool
) -> dict[str, list[int]]:
    """The rows of the events that reach each document."""
    found: dict[str, list[int]] = {}
    if not routed:
        for row, stream in enumerate(log["stream"].to_pylist()):
            found.setdefault(stream, []).append(row)
        return found
    rows_at: dict[Any, int] = {offset: n for n, offset in enumerate(log["offset"].to_pylist())}
    for offset, key in fork_events.routes_to(parent, base, keys):
        found.setdefault(key, []).append(rows_at[offset])
    return found
