"""The workspace as it looks from a fork: each table of events and folds with the fork's edits in it.

A question on a fork is asked on a connection on which views stand in the tables' places: the parent's
rows, but for those that the fork has otherwise, moved to their places on the fork, and the fork's own.
So nothing above asks otherwise on a fork than on the log.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import duckdb

from storage.coordinates.event_labels import Label
from storage.coordinates.position_map import Mark
from storage.quoting import quoted
from storage.timelines import store
from storage.timelines.edits import EVENT_FIELDS
from storage.timelines.overlay import Forked
from storage.workspace import schema
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

    from storage.timelines.store import Timeline

_LITERALS = 200
"""Keys or places that are written into a query; more are joined."""
_STRETCHES = 12
"""Stretches of a moved table that are read one by one, so that each is found by its zone maps."""

_OF_DOCUMENTS = ("history", "parts", "routes", "turns")
_OF_HANDLING = ("failures", "decisions", "printed", "reads")
"""Those whose key is missing where it was being asked for."""
_OF_EVENTS = ("upcasts",)


@dataclass(frozen=True)
class Basis:
    """On what a fold on a fork stands, and how far it differs from it."""

    projection: int
    timeline: str
    base: int
    """The projection whose fold on the parent it goes on from."""
    since: int
    """The first place from which on anything may be otherwise."""
    everything: bool
    """Whether every document may be, and not only those that were touched."""
    keys: int
    """How many were touched."""
    removed: Sequence[int]
    """Ordinals of the parent's documents that are born at another place, or not at all."""
    before: Sequence[int]
    """For each document that is born otherwise, the parent's ordinal that it comes before."""
    births: bool
    """Whether those are listed; else all documents born since are the fork's own."""


def on(workspace: Workspace, name: str) -> Workspace:
    """The workspace on a timeline; raises `WorkspaceError` where there is no such timeline."""
    seen = workspace
    for timeline in store.lineage(workspace, name):
        seen = Seen(seen, timeline)
    return seen


class Seen(Workspace):
    """A workspace on a fork, which needn't be kept yet."""

    def __init__(
        self, parent: Workspace, fork: "Timeline", before: "Timeline | None" = None
    ) -> None:
        """`before` is the fork before edits that aren't kept yet."""
        # What opens, waits and releases is the file's; this is only another look at it.
        self.parent = parent
        self._file = parent.file
        self.path = parent.path
        self.wait = parent.wait
        self.fork = fork
        self.before = before
        self.timeline = fork.name
        self._laid = Forked(fork, parent.overlay)
        self._mine = object()
        """The name of cursors that are prepared for it; its own would keep the file open."""

    @property
    def file(self) -> Workspace:
        return self._file

    @property
    def lineage(self) -> "list[Timeline]":
        """The forks from `main` to this one, as they were read."""
        above = self.parent.lineage if isinstance(self.parent, Seen) else []
        return [*above, self.fork]

    @property
    def overlay(self) -> Forked:
        return self._laid

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with self.file.reading_as(self._mine, lambda c: _Views(c, self).install()) as connection:
            yield connection

    @contextmanager
    def writing(
        self, *, alone: bool = True, generation: str | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """The tables as they are in the file, inside one transaction."""
        with self.file.writing(alone=alone, generation=generation) as connection:
            yield connection

    def release(self) -> None:
        self.file.release()

    def close(self) -> None:
        self.file.close()

    def events(self, connection: duckdb.DuckDBPyConnection) -> int:
        return self.parent.events(connection) + len(self.overlay.anchors)

    @property
    def digest(self) -> str:
        return "".join(filter(None, [self.parent.digest, self.fork.digest]))

    def label(self, place: int) -> Label:
        return self.overlay.label(place)

    def place(self, label: Label) -> int:
        return self.overlay.place(label)

    def marks(self, first: int, last: int) -> list[Mark]:
        return self.overlay.marks(first, last)

    def table(self, connection: duckdb.DuckDBPyConnection, name: str) -> str:
        return _Views(connection, self).relation(name)


class _Views:
    """The tables as a fork has them, as SQL over those of the file."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, seen: Seen) -> None:
        self._connection = connection
        self._seen = seen
        above = seen.parent
        self._parent = _Views(connection, above) if isinstance(above, Seen) else None
        self.depth: int = 0 if self._parent is None else self._parent.depth + 1
        """How many forks there are between this one and the log."""
        self._bases = _bases(connection, seen)

    def install(self) -> None:
        """Let views stand in the tables' places on this connection."""
        for name in ("events", "calls", "documents", *_OF_DOCUMENTS, *_OF_HANDLING, *_OF_EVENTS):
            self._connection.execute(
                f"CREATE OR REPLACE TEMP VIEW {name} AS FROM {self.relation(name)}"
            )

    def relation(self, name: str) -> str:
        """SQL for a table."""
        if name == "events":
            return f"({self._events()})"
        if name == "calls":
            return f"({self._calls()})"
        rows = [f"SELECT {_columns(name)} FROM {self._raw(name)}"]
        for number, basis in enumerate(self._bases):
            rows += self._derived(name, basis, number)
        return f"({' UNION ALL '.join(rows)})"

    def _raw(self, name: str) -> str:
        return self._seen.file.table(self._connection, name)

    def _above(self, name: str) -> str:
        return self._raw(name) if self._parent is None else self._parent.relation(name)

    def _events(self) -> str:
        overlay = self._seen.overlay
        kept = self._not_in('"offset"', overlay.hidden, "hidden")
        names = [name for name, _ in schema.EVENTS.columns]
        rows = self._moved(names, self._above("events"), kept)
        if overlay.own:
            own = self._registered("own", lambda: _own_events(overlay))
            rows.append(f"SELECT {', '.join(map(_quoted, names))} FROM {own}")
        return " UNION ALL ".join(rows)

    def _calls(self) -> str:
        names = [name for name, _ in schema.CALLS.columns]
        above = self._above("calls")
        rows = self._moved(names, above, "true", stretches=1)
        unassigned = f'SELECT {", ".join(map(_quoted, names))} FROM {above} WHERE "offset" IS NULL'
        return " UNION ALL ".join([*rows, unassigned])

    def _derived(self, name: str, basis: Basis, number: int) -> list[str]:
        """What a fold has in common with the one that it stands on."""
        mine = f"projection = {int(basis.base)} AND timeline = {quoted(self._seen.parent.timeline)}"
        names = [column for column, _ in schema.BY_NAME[name].columns]
        said = {
            "projection": str(int(basis.projection)),
            "timeline": quoted(basis.timeline),
        }
        if name == "parts":
            names.append("rowid")
            # A row that several timelines have is another row on each.
            said["rowid"] = f"rowid + {(number << 40) + (1 << 48 + self.depth)}"
        if name == "documents":
            return [self._documents(names, basis, mine, said)]
        kept = self._kept(name, basis)
        return self._moved(
            names, self._above(name), f"{mine} AND {kept}", said, 1 if name != "history" else None
        )

    def _kept(self, name: str, basis: Basis) -> str:
        """Which rows of the parent's fold stand, as a condition."""
        since = self._seen.overlay.parents_from(basis.since)
        early = f'"offset" < {int(since)}'
        if basis.everything:
            return early
        if name in _OF_EVENTS:
            return f"({early} OR {self._not_reached(basis, since)})"
        return f"({early} OR {self._untouched(name, basis)})"

    def _touched(self, basis: Basis) -> str:
        """SQL for the keys of what was folded again."""
        return (
            f"SELECT key FROM {self._raw('touched')} WHERE projection = {int(basis.projection)}"
            f" AND timeline = {quoted(basis.timeline)}"
        )

    def _untouched(self, name: str, basis: Basis) -> str:
        mine = self._touched(basis)
        if basis.keys <= _LITERALS:
            found = self._connection.execute(mine).fetchall()
            keys = ", ".join(quoted(key) for (key,) in found) or "NULL"
            touched = f"coalesce(key IN ({keys}), false)"
        else:
            touched = f"coalesce(key IN ({mine}), false)"
        if name not in _OF_HANDLING:
            return f"(NOT {touched})"
        edited = self._not_in('"offset"', self._seen.overlay.hidden, "hidden")
        return f"((NOT {touched}) AND (key IS NOT NULL OR {edited}))"

    def _not_reached(self, basis: Basis, since: int) -> str:
        """Of what is known of events only: those that no touched document had anything to do with."""
        touched = self._touched(basis)
        reached = (
            f'SELECT "offset" FROM {self._above("events")} WHERE "offset" >= {int(since)}'
            f' AND stream IN ({touched}) UNION ALL SELECT "offset" FROM {self._above("routes")}'
            f" WHERE projection = {int(basis.base)}"
            f" AND timeline = {quoted(self._seen.parent.timeline)} AND key IN ({touched})"
        )
        edited = self._not_in('"offset"', self._seen.overlay.hidden, "hidden")
        return f'("offset" NOT IN ({reached}) AND {edited})'

    def _documents(
        self, names: Sequence[str], basis: Basis, mine: str, said: Mapping[str, str]
    ) -> str:
        """The parent's documents with their ordinals here."""
        overlay = self._seen.overlay
        born = self._shifted("born")
        kept = self._not_in("ordinal", basis.removed, f"removed_{basis.projection}")
        if not basis.births:
            kept = f"born < {int(overlay.parents_from(basis.since))}"
        steps = [(ordinal, -1) for ordinal in basis.removed]
        # A document that comes before an ordinal moves that one, and those after it.
        steps += [(ordinal - 1, 1) for ordinal in basis.before]
        written = {**said, "born": born, "ordinal": f"ordinal + {stairs('ordinal', steps)}"}
        columns = ", ".join(f'{written.get(n, _quoted(n))} AS "{n}"' for n in names)
        return f"SELECT {columns} FROM {self._above('documents')} WHERE {mine} AND {kept}"

    def _moved(
        self,
        names: Sequence[str],
        above: str,
        condition: str,
        said: Mapping[str, str] | None = None,
        stretches: int | None = None,
    ) -> list[str]:
        """The parent's rows at their places here: SQL for each stretch that moves as one."""
        overlay, said = self._seen.overlay, said or {}
        segments = overlay.segments()

        def selected(offset: str, further: str) -> str:
            written = {"offset": offset, **said}
            columns = ", ".join(f'{written.get(n, _quoted(n))} AS "{n}"' for n in names)
            return f"SELECT {columns} FROM {above} WHERE {further}{condition}"

        if not overlay.anchors or all(shift == 0 for _, _, shift in segments):
            return [selected('"offset"', "")]
        if len(segments) > (_STRETCHES if stretches is None else stretches):
            return [selected(self._shifted('"offset"'), "")]
        return [
            selected(f'"offset" + {shift}', f'"offset" BETWEEN {first} AND {last} AND ')
            for first, last, shift in segments
        ]

    def _shifted(self, column: str) -> str:
        """SQL for the place here of one of the parent's."""
        anchors = self._seen.overlay.anchors
        return f"{column} + {stairs(column, [(anchor, 1) for anchor in anchors])}"

    def _not_in(self, column: str, places: Sequence[int], name: str) -> str:
        if not places:
            return "true"
        if len(places) <= _LITERALS:
            return f"{column} NOT IN ({', '.join(str(int(place)) for place in places)})"
        listed = self._registered(name, lambda: _numbers(places))
        return f"{column} NOT IN (SELECT place FROM {listed})"

    def _registered(self, name: str, make: "Callable[[], pa.Table]") -> str:
        """A table of this timeline's, under a name of its own on this connection."""
        full = f"seen_{self.depth}_{name}"
        self._connection.register(full, make())
        return full


def _bases(connection: duckdb.DuckDBPyConnection, seen: Seen) -> list[Basis]:
    rows = connection.execute(
        "SELECT projection, timeline, base, since, everything, keys, births FROM"
        f" {seen.file.table(connection, 'forked')} WHERE timeline = ?",
        [seen.timeline],
    ).fetchall()
    return [_basis(*row) for row in rows]


def _basis(
    projection: int,
    timeline: str,
    base: int,
    since: int,
    everything: bool,
    keys: int,
    births: str | None,
) -> Basis:
    listed = {"removed": [], "before": []} if births is None else json.loads(births)
    return Basis(
        projection,
        timeline,
        base,
        since,
        everything,
        keys,
        listed["removed"],
        listed["before"],
        births is not None,
    )


def stairs(column: str, steps: Iterable[tuple[int, int]]) -> str:
    """SQL for the sum of all steps that a number has passed: 1 of `(900, 1)` from 901 on."""
    by_threshold: dict[int, int] = {}
    for threshold, step in steps:
        by_threshold[threshold] = by_threshold.get(threshold, 0) + step
    thresholds = sorted(by_threshold)
    sums = [0, *accumulate(by_threshold[threshold] for threshold in thresholds)]

    def between(low: int, high: int) -> str:
        if low == high:
            return str(sums[low])
        middle = (low + high) // 2
        return (
            f"CASE WHEN {column} <= {thresholds[middle]} THEN {between(low, middle)}"
            f" ELSE {between(middle + 1, high)} END"
        )

    return f"({between(0, len(thresholds))})"


def _columns(name: str) -> str:
    columns = [_quoted(column) for column, _ in schema.BY_NAME[name].columns]
    # Large documents are put together by the numbers of their rows.
    return ", ".join([*columns, *(["rowid AS rowid"] if name == "parts" else [])])


def _quoted(name: str) -> str:
    return f'"{name}"'


def _numbers(places: Sequence[int]) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 - few forks need it

    return pa.table({"place": pa.array(places, pa.int64())})


def _own_events(overlay: Forked) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 - as above

    own = overlay.own
    columns = {name: [getattr(one.event, name) for one in own] for name in EVENT_FIELDS}
    kinds = {"time": pa.timestamp("us", "UTC"), "revision": pa.int64()}
    table = {n: pa.array(v, kinds.get(n, pa.string())) for n, v in columns.items()}
    empty = {"source": pa.int32(), "line": pa.int64(), "source_position": pa.string()}
    table |= {name: pa.nulls(len(own), kind) for name, kind in empty.items()}
    table["offset"] = pa.array([one.place for one in own], pa.int64())
    return pa.table(table)
