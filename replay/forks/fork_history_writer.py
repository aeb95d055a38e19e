"""Keeping what differs on a fork: its rows, and what it has in common with its parent's fold.

Nothing of it is seen before all of it is there: what says on which fold it stands is written last.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa

from replay.event_fold.history_writer import OvertakenError, Recording, flush_id
from replay.event_fold.run_context import Run
from replay.forks.affected_documents import AffectedDocuments
from replay.history import catalogue
from replay.history.catalogue import Folded
from replay.history.history import bucket
from replay.projection import reference
from replay.query.number_columns import KeptNumbers
from replay.worker_host.batch_result import Told
from storage.timelines import store
from storage.timelines.workspace_view import Seen

_LISTED_BIRTHS = 500
"""Documents born otherwise that are noted one by one; where there are more, all are listed anew."""
_FEW = 100
"""Keys whose buckets are written into a query."""


class ForkRecording(Recording):
    """What differs of a fold, while it is being folded; it appears when it is finished."""

    def __init__(
        self,
        run: Run,
        seen: Seen,
        base: Folded,
        ready: dict[str, Any],
        difference: AffectedDocuments,
    ) -> None:
        super().__init__(
            seen,
            0,
            run.calling.version,
            run.calling.broker.redactor.text,
            generation=run.generation,
        )
        self._run = run
        self._seen = seen
        self._base = base
        self._ready = ready
        self._difference = difference
        self._numbers = KeptNumbers("[]")  # a fork's own states are few
        self.nowhere: set[int] = set()
        """Events that failed before they reached anything."""
        self.types: dict[int, str | None] = {}
        """Of events that were upcast."""
        self._begun = False
        self._finished = False
        self._hash = reference.identity(ready["files"], ready["python"], run.wanted.settings)
        self._written = 0
        """Rows of the history that were written so far."""
        with seen.file.reading() as connection:
            self._first_change = _next_change(connection, base)
            number = catalogue.number_of(connection, run.wanted.name, self._hash)
            if number is not None:
                self._flushed = flush_id(connection, [number, seen.timeline])
        self.changes = self._first_change
        self.folded = difference.since

    def take(self, told: Told, until: int) -> None:
        if not self._difference.everything and (told.printed or told.reads):
            told = self._own(told)
        super().take(told, until)
        self.nowhere |= {one["offset"] for one in told.failures if one["key"] is None}
        self.types |= {one["offset"]: one["type"] for one in told.upcasts}

    def _own(self, told: Told) -> Told:
        """Without what the parent has too: keys are asked for of events that are as they were."""
        own = {one.place for one in self._seen.overlay.own}

        def new(said: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
            return [one for one in said if one["key"] is not None or one["offset"] in own]

        return replace(told, printed=new(told.printed), reads=new(told.reads))

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
            self._refuse_overtaken(connection)
            return
        new = store.keep(connection, self._seen.lineage, self._seen.before)
        if catalogue.is_refolded(connection, self._base):
            raise OvertakenError
        wanted, ready = self._run.wanted, self._ready
        self._number = catalogue.register(
            connection, wanted, wanted.name, self._hash, ready["files"], ready["invariants"]
        )
        if flush_id(connection, self._names) != self._flushed:
            raise OvertakenError
        if not new:  # also what was left by a fold that was killed
            catalogue.forget(connection, self._number, self._seen.timeline)
        self._begun = True

    def _refuse_overtaken(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Raise `OvertakenError` when another process dropped what was written before."""
        store.refuse_stale(connection, self._seen.lineage)
        ((there,),) = connection.execute(
            "SELECT count(*) FROM history WHERE projection = ? AND timeline = ?", self._names
        ).fetchall()
        if there != self._written or catalogue.is_refolded(connection, self._base):
            raise OvertakenError

    def _write_rows(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._written += sum(rows.num_rows for rows in self._history)
        super()._write_rows(connection)

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
        self, seen: Seen, base: Folded, difference: AffectedDocuments, own: ForkRecording
    ) -> None:
        self._seen = seen
        self._base = base
        self._difference = difference
        self._since = difference.parents_since
        with seen.parent.reading() as connection:
            connection.register("wanted", pa.table({"key": pa.array(difference.keys, pa.string())}))
            connection.register(
                "edited_places", pa.table({"offset": pa.array(seen.overlay.hidden, pa.int64())})
            )
            self._connection = connection
            self.changes = base.changes - self._gone("history") + own.own_changes
            failed = self._gone("failures") if base.failures else 0
            self.failures = base.failures - failed + own.failures
            called = self._gone("decisions") if base.calls else 0
            self.calls = base.calls - called + own.calls
            self.unhandled = self._unhandled(own)
            self._born(own.births())

    def _gone(self, table: str) -> int:
        """Rows of the parent's fold that don't stand."""
        touched = "true" if self._difference.everything else "key IN (SELECT key FROM wanted)"
        if table in ("failures", "decisions") and not self._difference.everything:
            edited = '"offset" IN (SELECT "offset" FROM edited_places)'
            touched = f"({touched} OR (key IS NULL AND {edited}))"
        keys = self._difference.keys
        if table == "history" and len(keys) <= _FEW and not self._difference.everything:
            touched += f" AND bucket IN ({', '.join(str(bucket(key)) for key in keys) or 'NULL'})"
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

    def _unhandled(self, own: "ForkRecording") -> Counter[str]:
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
        rest = (
            []
            if self._difference.everything
            else self._connection.execute(
                "SELECT key, born FROM documents WHERE projection = ? AND timeline = ?"
                " AND born >= ? AND key NOT IN (SELECT key FROM wanted) ORDER BY ordinal",
                [*mine, self._since],
            ).fetchall()
        )
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
