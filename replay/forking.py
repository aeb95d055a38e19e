"""Folding a fork: only the documents that may differ, from their states on the parent.

These are the documents that an edited event reached, or reaches now; those whose calls are answered
otherwise; and all, where the code is another. Everything else is what the parent's fold says, which
the fork's stands on (`storage.timelines.seen`). What is written appears at once, when it is whole.
"""

import json
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from replay import batches, catalogue, recalling, reference
from replay.catalogue import Folded
from replay.crew import Crew, NotPlainError
from replay.process import Frame, WorkerDiedError
from replay.recording import Recording
from replay.run import Run
from replay.told import Told
from storage.connections import arrow
from storage.connections import rows as rows_of
from storage.errors import ProjectionError
from storage.timelines.edits import Kind
from storage.timelines.seen import Seen

_BATCH = 50_000
_AHEAD = 2
_FLUSH_ROWS = 400_000
_LISTED_BIRTHS = 500
"""Documents born otherwise that are noted one by one; where there are more, all are listed anew."""
_LOOKED_AT = 20_000
"""Changes up to which a worker looks at every state for what JSON can't bring back."""


def fold(run: Run, seen: Seen, base: Folded, standing: "Standing | None" = None) -> int:
    """Fold what differs from the parent's fold; the projection's number.

    `standing` is a worker that is ready already, and is used again. Raises as `folding.fold` does.
    """
    careful = base.plain is False
    while True:
        try:
            return _Forking(run, seen, base, careful=careful).fold(standing)
        except NotPlainError:
            careful = True
        except WorkerDiedError as error:
            if standing is not None:
                standing.close()
            at = seen.label(error.offset) if error.offset >= 0 else "the start"
            raise ProjectionError(
                f"The worker of {run.wanted.name} {error.what} at {at} on {seen.timeline};"
                " nothing of this fork was kept."
            ) from error


def base_label(seen: Seen) -> str | None:
    """The projection whose states the fork goes on from, where that is another one."""
    found = [edit.said for edit in seen.fork.active if edit.kind is Kind.BASE]
    return found[-1] if found else None


def stands_on(seen: Seen, folded: Folded, base: Folded) -> bool:
    """Whether a fork's fold still stands on what its parent's is now."""
    with seen.file.reading() as connection:
        rows = connection.execute(
            "SELECT base FROM forked WHERE projection = ? AND timeline = ?",
            [folded.number, folded.timeline],
        ).fetchall()
    return [(base.number,)] == rows


class Standing:
    """A worker that is kept ready for one projection's forks. Use as a context manager."""

    def __init__(self) -> None:
        self._crew: Crew | None = None
        self._stack = ExitStack()
        self._for: tuple[Any, ...] = ()
        self._ready: dict[str, Any] = {}

    def __enter__(self) -> "Standing":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the worker go."""
        self._stack.close()
        self._crew = None

    def crew(self, run: Run, *, careful: bool, plain: bool) -> tuple[Crew, dict[str, Any]]:
        """A worker without any document, and what it said of its projection."""
        wanted = (run.wanted, careful, plain)
        fits = self._crew is not None and self._for == wanted and self._crew.renews
        if fits and self._crew is not None and reference.unchanged(self._ready["files"]):
            self._crew.anew()
            return self._crew, self._ready
        self.close()
        crew = self._stack.enter_context(_crew(run, careful=careful, plain=plain))
        self._ready = dict(crew.ready())
        self._crew, self._for = crew, wanted
        return crew, self._ready


def _crew(run: Run, *, careful: bool, plain: bool) -> Crew:
    means = run.means
    return Crew(
        run.wanted,
        1,
        run.calling,
        careful=careful,
        resuming=True,
        plain=plain,
        patience=means.patience,
        memory=means.memory,
    )


@dataclass
class _Difference:
    """What may be otherwise on a fork."""

    since: int
    """The first place from which on anything may be."""
    keys: set[str] = field(default_factory=set)
    everything: bool = False
    hidden: list[dict[str, Any]] = field(default_factory=list)
    """The parent's events that are no more: `offset`, `type` and `stream`."""


class _Forking:
    def __init__(self, run: Run, seen: Seen, base: Folded, *, careful: bool) -> None:
        self._run = run
        self._seen = seen
        self._base = base
        self._careful = careful

    def fold(self, standing: Standing | None) -> int:
        started = time.monotonic()
        plain = self._base.plain is True and not self._careful
        with ExitStack() as stack:
            if standing is None:
                standing = stack.enter_context(Standing())
            crew, ready = standing.crew(self._run, careful=self._careful, plain=plain)
            found = self._difference(crew)
            recording = _ForkRecording(self._run, self._seen, self._base, ready, found)
            recording.room = str(crew.room)
            self._through(crew, recording, found)
            looked = recording.own_changes < _LOOKED_AT
            recording.plain = False if ready["careful"] else self._base.plain if looked else None
        recording.finish(time.monotonic() - started)
        return recording.number

    # What differs

    def _difference(self, crew: Crew) -> _Difference:
        overlay, base = self._seen.overlay, self._base
        branch = overlay.place(self._seen.fork.at) + 1
        kinds = {edit.kind for edit in self._seen.fork.active}
        places = overlay.edited
        if kinds & {Kind.ANSWERS, Kind.BASE}:
            places = [branch, *places]
        found = _Difference(min(places, default=self._run.total))
        found.everything = Kind.BASE in kinds
        with self._seen.parent.reading() as connection:
            found.hidden = _events_at(connection, overlay.hidden)
            if found.everything:
                return found
            found.keys |= self._keys_of_hidden(connection, found.hidden, routed=crew.routed)
            if Kind.ANSWERS in kinds:
                found.keys |= self._keys_with_calls(connection, found.since)
        own = self._own_events()
        if own.num_rows:
            found.keys |= {key for keys in crew.routes(own, self._check) for key in keys}
        if base.first > overlay.before(found.since - 1) + 1:
            raise ProjectionError(
                f"{base.label} has no states kept before {self._seen.label(found.since)}."
            )
        return found

    def _keys_of_hidden(
        self, connection: duckdb.DuckDBPyConnection, hidden: list[dict[str, Any]], *, routed: bool
    ) -> set[str]:
        if not routed:
            return {row["stream"] for row in hidden if row["stream"] is not None}
        connection.register("hidden_places", pa.table({"offset": self._seen.overlay.hidden}))
        rows = connection.execute(
            'SELECT DISTINCT key FROM routes SEMI JOIN hidden_places USING ("offset")'
            " WHERE projection = ? AND timeline = ?",
            [self._base.number, self._base.timeline],
        ).fetchall()
        return {key for (key,) in rows}

    def _keys_with_calls(self, connection: duckdb.DuckDBPyConnection, since: int) -> set[str]:
        rows = connection.execute(
            "SELECT DISTINCT key FROM decisions WHERE projection = ? AND timeline = ?"
            ' AND "offset" >= ? AND key IS NOT NULL',
            [self._base.number, self._base.timeline, self._seen.overlay.before(since - 1) + 1],
        ).fetchall()
        return {key for (key,) in rows}

    def _own_events(self) -> pa.Table:
        places = [one.place for one in self._seen.overlay.own]
        with self._seen.reading() as connection:
            connection.register("own_places", pa.table({"offset": pa.array(places, pa.int64())}))
            return arrow(
                connection,
                f"SELECT {batches.SELECT} FROM events SEMI JOIN own_places"
                ' USING ("offset") ORDER BY "offset"',
            )

    # Folding it

    def _through(self, crew: Crew, recording: "_ForkRecording", found: _Difference) -> None:
        only = None if found.everything else found.keys
        waiting: deque[tuple[list[pa.Table], int]] = deque()

        def hear() -> None:
            shares, until = waiting.popleft()
            told = crew.receive(shares, lambda frame: self._recalled(frame, found, crew), self._check)
            if told is None:
                raise ProjectionError(f"{self._run.wanted.name} ended before its last event.")
            recording.take(told, until)
            self._run.progress(recording)
            if recording.waiting >= _FLUSH_ROWS:
                recording.flush(0.0)

        for table in self._batches(found, routed=crew.routed):
            shares = crew.send(table, recording.changes, only)
            waiting.append((shares, table["offset"][-1].as_py() + 1))
            if len(waiting) > _AHEAD:
                hear()
        while waiting:
            hear()

    def _batches(self, found: _Difference, *, routed: bool) -> Iterator[pa.Table]:
        if found.everything:
            first = found.since
            while first < self._run.total:
                until = min(first + _BATCH, self._run.total)
                table = self._events(f'"offset" >= {first} AND "offset" < {until}')
                if table.num_rows:
                    yield table
                first = until
            return
        # Also what reaches no document may raise while it is asked for its keys.
        if not found.keys and not (routed and self._seen.overlay.own):
            return
        places = self._reached(found) if routed else self._of_streams(found)
        for first in range(0, len(places), _BATCH):
            page = places.slice(first, _BATCH)
            with self._seen.reading() as connection:
                connection.register("places", pa.table({"offset": page}))
                low, high = page[0].as_py(), page[-1].as_py()
                yield arrow(
                    connection,
                    f"SELECT {batches.SELECT} FROM (SELECT {batches.SELECT} FROM events"
                    f' WHERE "offset" BETWEEN {low} AND {high}) SEMI JOIN places USING ("offset")'
                    ' ORDER BY "offset"',
                )

    def _of_streams(self, found: _Difference) -> pa.Array:
        """The places of all events of the touched streams."""
        with self._seen.reading() as connection:
            recalling.want(connection, sorted(found.keys))
            table = arrow(
                connection,
                'SELECT "offset" FROM events WHERE stream IN (SELECT key FROM wanted)'
                f' AND "offset" >= {found.since} ORDER BY "offset"',
            )
        return batches.column(table.combine_chunks(), "offset")

    def _reached(self, found: _Difference) -> pa.Array:
        """The places of all events that reached touched documents, or are the fork's own."""
        overlay = self._seen.overlay
        with self._seen.parent.reading() as connection:
            recalling.want(connection, sorted(found.keys))
            rows = connection.execute(
                'SELECT DISTINCT "offset" FROM routes SEMI JOIN wanted USING (key)'
                ' WHERE projection = ? AND timeline = ? AND "offset" >= ?',
                [self._base.number, self._base.timeline, overlay.before(found.since - 1) + 1],
            ).fetchall()
        hidden = set(overlay.hidden)
        places = {overlay.from_parent(offset) for (offset,) in rows if offset not in hidden}
        places |= {one.place for one in overlay.own}
        return pa.array(sorted(places), pa.int64())

    def _events(self, condition: str) -> pa.Table:
        query = f'SELECT {batches.SELECT} FROM events WHERE {condition} ORDER BY "offset"'
        with self._seen.reading() as connection:
            return arrow(connection, query)

    def _recalled(self, frame: Frame, found: _Difference, crew: Crew) -> recalling.Parts:
        """Documents as they were on the parent before anything differs."""
        before = self._seen.overlay.before(found.since - 1) + 1
        place = (self._seen.parent, self._base.number, frame.header["keys"])
        if frame.header["events"]:
            return recalling.events(*place, before=before, routed=crew.routed)
        return recalling.states(*place, before=before)

    def _check(self) -> None:
        self._run.stop_if_cancelled()


def _events_at(
    connection: duckdb.DuckDBPyConnection, places: Sequence[int]
) -> list[dict[str, Any]]:
    connection.register("edited_places", pa.table({"offset": pa.array(places, pa.int64())}))
    return rows_of(
        connection,
        'SELECT e."offset", e.type, e.stream FROM events AS e SEMI JOIN edited_places'
        ' USING ("offset") ORDER BY e."offset"',
    )


class _ForkRecording(Recording):
    """What differs of a fold, while it is being folded; it appears when it is finished."""

    def __init__(
        self,
        run: Run,
        seen: Seen,
        base: Folded,
        ready: dict[str, Any],
        difference: _Difference,
    ) -> None:
        super().__init__(seen, 0, run.calling.version, run.calling.broker.redactor.text)
        self._run = run
        self._seen = seen
        self._base = base
        self._ready = ready
        self._difference = difference
        self.nowhere: set[int] = set()
        """Events that failed before they reached anything."""
        self.types: dict[int, str | None] = {}
        """Of events that were upcast."""
        self._begun = False
        self._finished = False
        with seen.file.reading() as connection:
            self._first_change = _next_change(connection, base)
        self.changes = self._first_change
        self.folded = difference.since

    def take(self, told: Told, until: int) -> None:
        super().take(told, until)
        self.nowhere |= {one["offset"] for one in told.failures if one["key"] is None}
        self.types |= {one["offset"]: one["type"] for one in told.upcasts}

    @property
    def number(self) -> int:
        return self._number

    @property
    def own_changes(self) -> int:
        return self.changes - self._first_change

    def finish(self, seconds: float) -> None:
        """Write what is left, and let it all appear."""
        self._finished = True
        self.folded = self._run.total
        self._totals = _Totals(self._seen, self._base, self._difference, self)
        self.flush(seconds)

    def births(self) -> list[tuple[str, int]]:
        """Documents that were born here: key and place, in order."""
        tables = [table.select(["key", "born"]) for table in self._born]
        return [(r["key"], r["born"]) for table in tables for r in table.to_pylist()]

    def _begin(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._begun:
            return
        self._begun = True
        wanted, ready = self._run.wanted, self._ready
        digest = reference.identity(ready["files"], ready["python"], wanted.settings)
        self._number = catalogue.register(
            connection, wanted, wanted.name, digest, ready["files"], ready["invariants"]
        )
        catalogue.forget(connection, self._number, self._seen.timeline)

    def _write_born(self, connection: duckdb.DuckDBPyConnection) -> None:
        """They are written at the end, with their places among all."""

    def _write_extent(self, connection: duckdb.DuckDBPyConnection) -> None:
        if not self._finished:
            return
        totals = self._totals
        self._insert_documents(connection, totals.documents)
        connection.register("rows", pa.table({"key": sorted(self._difference.keys)}))
        connection.execute("INSERT INTO touched SELECT ?, ?, key FROM rows", self._names)
        connection.unregister("rows")
        connection.execute(
            "INSERT INTO forked VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [*self._names, self._base.number, self._difference.since]
            + [self._difference.everything, len(self._difference.keys), self.changes]
            + [totals.listed_births],
        )
        numbered = self.changes
        self.changes = totals.changes
        self.keys, self.failures, self.calls = totals.keys, totals.failures, totals.calls
        self.parts += self._base.parts
        self.unhandled, self.skipped = totals.unhandled, sum(totals.unhandled.values())
        super()._write_extent(connection)
        self.changes = numbered


def _next_change(connection: duckdb.DuckDBPyConnection, base: Folded) -> int:
    """The number of the next change after all that a fold, or what it stands on, has."""
    rows = connection.execute(
        "SELECT next_change FROM forked WHERE projection = ? AND timeline = ?",
        [base.number, base.timeline],
    ).fetchall()
    return int(rows[0][0]) if rows else base.changes


class _Totals:
    """What a fork's fold comes to, with what it has in common with its parent's."""

    def __init__(
        self, seen: Seen, base: Folded, difference: _Difference, own: _ForkRecording
    ) -> None:
        self._seen = seen
        self._base = base
        self._difference = difference
        self._since = seen.overlay.before(difference.since - 1) + 1
        with seen.parent.reading() as connection:
            connection.register("wanted", pa.table({"key": pa.array(difference.keys, pa.string())}))
            connection.register(
                "edited_places", pa.table({"offset": pa.array(seen.overlay.hidden, pa.int64())})
            )
            self._connection = connection
            self.changes = base.changes - self._gone("history") + own.own_changes
            self.failures = base.failures - self._gone("failures") + own.failures
            self.calls = base.calls - self._gone("decisions") + own.calls
            self.unhandled = self._unhandled(own)
            self._born(own.births())

    def _gone(self, table: str) -> int:
        """Rows of the parent's fold that don't stand."""
        touched = "true" if self._difference.everything else "key IN (SELECT key FROM wanted)"
        if table in ("failures", "decisions") and not self._difference.everything:
            edited = '"offset" IN (SELECT "offset" FROM edited_places)'
            touched = f"({touched} OR (key IS NULL AND {edited}))"
        rows = self._connection.execute(
            f"SELECT count(*) FROM {table} WHERE projection = ? AND timeline = ?"
            f' AND "offset" >= ? AND {touched}',
            [self._base.number, self._base.timeline, self._since],
        ).fetchall()
        return int(rows[0][0])

    def _as_handled(self) -> tuple[set[int], dict[int, str | None]]:
        """Of the parent's events that are no more: those that failed before they reached anything,
        and the types of those that were upcast."""
        mine = [self._base.number, self._base.timeline]
        nowhere = self._connection.execute(
            'SELECT "offset" FROM failures SEMI JOIN edited_places USING ("offset")'
            " WHERE projection = ? AND timeline = ? AND key IS NULL",
            mine,
        ).fetchall()
        types = self._connection.execute(
            'SELECT "offset", type FROM upcasts SEMI JOIN edited_places USING ("offset")'
            " WHERE projection = ? AND timeline = ?",
            mine,
        ).fetchall()
        return {offset for (offset,) in nowhere}, dict(types)

    def _unhandled(self, own: "_ForkRecording") -> Counter[str]:
        names = set(self._base.unhandled) | set(own.unhandled)
        if not names:
            return Counter()
        found: Counter[str] = Counter()
        if self._difference.everything:
            rows = self._connection.execute(
                "SELECT coalesce(type, 'None'), count(*) FROM events WHERE \"offset\" < ?"
                " AND list_contains(?, coalesce(type, 'None')) GROUP BY 1",
                [self._since, list(self._base.unhandled)],
            ).fetchall()
            found.update(dict(rows))
            found.update(own.unhandled)
            return found
        found.update(self._base.unhandled)
        nowhere, types = self._as_handled()
        found.subtract(
            str(types.get(row["offset"], row["type"]))
            for row in self._difference.hidden
            if row["offset"] not in nowhere
        )
        found.update(
            str(own.types.get(one.place, one.event.type))
            for one in self._seen.overlay.own
            if one.place not in own.nowhere
        )
        return Counter({name: n for name, n in found.items() if name in names and n > 0})

    def _born(self, births: list[tuple[str, int]]) -> None:
        """Which documents are the fork's own, at which ordinals."""
        overlay = self._seen.overlay
        mine = [self._base.number, self._base.timeline]
        kept = "true" if self._difference.everything else "key IN (SELECT key FROM wanted)"
        before = self._connection.execute(
            "SELECT key, ordinal, born FROM documents WHERE projection = ? AND timeline = ?"
            f" AND born >= ? AND {kept} ORDER BY ordinal",
            [*mine, self._since],
        ).fetchall()
        there = {key: (ordinal, overlay.from_parent(born)) for key, ordinal, born in before}
        gone = {key for key, (_, place) in there.items() if (key, place) not in set(births)}
        new = [(k, place) for k, place in births if k not in there or there[k][1] != place]
        self.keys = self._base.keys - len(gone) + len(new)
        if self._difference.everything or max(len(gone), len(new)) > _LISTED_BIRTHS:
            self.listed_births = None
            self.documents = self._all_born(births)
            return
        removed = sorted(there[key][0] for key in gone)
        rows = []
        for n, (key, place) in enumerate(new):
            (earlier,) = self._connection.execute(
                "SELECT count(*) FROM documents WHERE projection = ? AND timeline = ? AND born <= ?",
                [*mine, overlay.before(place)],
            ).fetchall()[0]
            ordinal = earlier - sum(1 for r in removed if r < earlier) + n
            rows.append((ordinal, key, place, earlier))
        self.listed_births = json.dumps({"removed": removed, "before": [row[3] for row in rows]})
        self.documents = _documents([row[:3] for row in rows])

    def _all_born(self, births: list[tuple[str, int]]) -> pa.Table:
        """All documents born since anything differs, in order."""
        overlay = self._seen.overlay
        mine = [self._base.number, self._base.timeline]
        rest = [] if self._difference.everything else self._connection.execute(
            "SELECT key, born FROM documents WHERE projection = ? AND timeline = ?"
            " AND born >= ? AND key NOT IN (SELECT key FROM wanted) ORDER BY ordinal",
            [*mine, self._since],
        ).fetchall()
        others = [(key, overlay.from_parent(born)) for key, born in rest]
        ((first,),) = self._connection.execute(
            "SELECT count(*) FROM documents WHERE projection = ? AND timeline = ? AND born < ?",
            [*mine, self._since],
        ).fetchall()
        ordered = sorted([*others, *births], key=lambda row: row[1])
        return _documents([(first + n, key, place) for n, (key, place) in enumerate(ordered)])


def _documents(rows: Sequence[tuple[int, str, int]]) -> pa.Table:
    ordinals, keys, born = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "ordinal": pa.array(ordinals, pa.int64()),
            "key": pa.array(keys, pa.string()),
            "born": pa.array(born, pa.int64()),
        }
    )
