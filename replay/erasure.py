"""Removing events or values from a workspace, for people who are obliged to delete.

What was removed is removed wherever it was: from the log, forks, recorded calls, bookmarks, watches,
rejects. All that was folded is forgotten, as any state may hold some of it, and is folded anew when
it is asked for. An event that is removed leaves its offset and its time, so that every other event
stays where it is. Texts elsewhere in the log that contain what was removed are counted, and not
changed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.query import event_filter
from replay.value_search import Truths, ValueSearch
from storage.errors import QueryError
from storage.ingest.mapping import FieldMapping
from storage.ingest.redaction import Redaction, Removal
from storage.log import irregularities
from storage.log.tombstones import EMPTIED, REMOVED
from storage.workspace import file_rewrite, schema
from storage.workspace.file_rewrite import Change
from storage.workspace.schema import OnRemoval, Table
from storage.workspace.workspace import Workspace, read_fact, write_fact

Numbers = np.ndarray[Any, np.dtype[np.int64]]

_AT_ONCE = 50_000


@dataclass(frozen=True)
class Wish:
    """What is to be removed."""

    streams: Sequence[str] = ()
    where: str | None = None
    """A condition on events. Only events of these streams for which it holds are concerned."""
    values: Sequence[str] = ()
    """Paths such as `data.email`: null stands there afterwards."""
    redacted: Sequence[str] = ()
    """Paths at which a keyed hash stands afterwards, as with `refold load --redact`."""

    @property
    def of_values(self) -> bool:
        """Whether values are removed; else whole events are."""
        return bool(self.values or self.redacted)


@dataclass
class Removed:
    """What was removed, by where it was."""

    events: int = 0
    """Events that were removed, or had such a value."""
    calls: int = 0
    edits: int = 0
    """Edits of forks; what they were about is otherwise, or gone."""
    bookmarks: int = 0
    watches: int = 0
    notes: int = 0
    rejects: int = 0
    folds: int = 0
    """Histories that are folded anew when they are asked for."""
    remains: dict[str, int] = field(default_factory=dict)
    """Other texts that contain what was removed: how many, by where they are."""
    unsearched: int = 0
    """How many values were removed, where these are too many to be looked for in other events."""


def chosen(workspace: Workspace, wish: Wish) -> Numbers | None:
    """The offsets of the events that are concerned; None: all. Raises `QueryError` where none are."""
    if not (wish.streams or wish.where or wish.of_values):
        raise QueryError("Say what is to be removed: --stream, --where, --value or --redact.")
    if not wish.streams and wish.where is None:
        return None
    found: list[int] = []
    matching = None
    if wish.where is not None:
        matching = np.asarray(event_filter.matching(workspace, wish.where), np.int64)
        if not len(matching):
            raise QueryError(f"No event matches {wish.where!r}.")
        if not wish.streams:
            return matching
    with workspace.reading() as connection:
        for stream in wish.streams:
            rows = connection.execute(
                'SELECT "offset" FROM events WHERE stream = ?', [stream]
            ).fetchnumpy()
            if not len(rows["offset"]):
                raise QueryError(f"No event is of the stream {stream!r}.")
            found.extend(rows["offset"].tolist())
    offsets = np.unique(np.asarray(found, np.int64))
    if matching is None:
        return offsets
    both: Numbers = np.intersect1d(offsets, matching)
    if not len(both):
        raise QueryError(f"No event of these streams matches {wish.where!r}.")
    return both


def remove(
    workspace: Workspace,
    wish: Wish,
    *,
    on_progress: Callable[[int], None] = lambda _: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Removed:
    """Write the workspace anew without what is wished away.

    Raises `QueryError` where there is nothing of it, `SourceError` for a path that can't be, and
    `CancelledError`; then the workspace is as it was.
    """
    removing = _Removing(workspace, wish)
    file_rewrite.rewrite(
        workspace.file,
        removing.changes(),
        removing.finish,
        on_progress=on_progress,
        cancelled=cancelled,
    )
    return removing.removed


class _Removing:
    """One pass through all tables; the events come before everything that may repeat them."""

    def __init__(self, workspace: Workspace, wish: Wish) -> None:
        self._wish = wish
        self._offsets = chosen(workspace, wish)
        self._met: set[str] = set(() if wish.of_values else wish.streams)
        self._gone = Removal(wish.values, met=self._met)
        self._hashed = Redaction(wish.redacted, met=self._met)
        self._looked_for: ValueSearch | None = None
        self._rewritten: list[Numbers] = []
        """Offsets of events that are otherwise now."""
        self._ids: set[str] = set()
        """The ids of those events."""
        self._correlations: set[str] = set()
        """Correlation ids that only removed events have."""
        self._bodies: set[str] = set()
        """Of the calls that stay."""
        self.removed = Removed()
        with workspace.file.reading() as connection:
            ((self.removed.folds,),) = connection.execute(
                "SELECT count(*) FROM folds WHERE folded > first"
            ).fetchall()
            # Tables before `edits` are searched for the values that only a fork's edits hold.
            for batch in connection.sql("FROM edits").to_arrow_reader(_AT_ONCE):
                rows = pa.Table.from_batches([batch])
                _, touched = self._without(rows, self._concerned(rows))
                self._remember_ids(rows, touched)
            if not wish.of_values and self._offsets is not None:
                connection.register("removed", pa.table({"at": self._offsets}))
                gone = 'SELECT correlation_id FROM events WHERE "offset"'
                found = connection.execute(
                    f"{gone} IN (FROM removed) EXCEPT {gone} NOT IN (FROM removed)"
                )
                self._correlations.update(id_ for (id_,) in found.fetchall() if id_ is not None)
                connection.unregister("removed")

    def changes(self) -> Mapping[str, Change | None]:
        """Return what becomes of each table, as its columns declare in `storage.workspace.schema`."""
        own = {
            "events": self._events,
            "rejects": self._rejects,
            "calls": self._calls,
            "bodies": self._kept_bodies,
            "timelines": self._timelines,
            "edits": self._edits,
            "bookmarks": self._bookmarks,
            "watches": self._watches,
        }
        changes: dict[str, Change | None] = {}
        for table in schema.TABLES:
            if table.is_emptied:
                changes[table.name] = None
            elif table.name in own:
                changes[table.name] = own[table.name]
            elif set(table.values.values()) != {OnRemoval.COUNT}:
                changes[table.name] = partial(self._as_declared, table)
        return changes

    def finish(self, new: duckdb.DuckDBPyConnection) -> None:
        """Find what is irregular now, and what still contains something of it."""
        if not (self.removed.events or self.removed.edits):
            paths = " or ".join((*self._wish.values, *self._wish.redacted))
            raise QueryError(f"None of these events has anything at {paths}.")
        if self._offsets is None:
            self._redact_what_comes(new)
        irregularities.note(new, 0)
        answerless = "body IS NOT NULL AND body NOT IN (SELECT body FROM bodies)"
        ((count,),) = new.execute(f"DELETE FROM calls WHERE {answerless}").fetchall()
        self.removed.calls += count
        looking = self._looking
        if not looking.few:
            self.removed.unsearched = len(self._met)
            return
        for table in schema.TABLES:
            columns = table.columns_to(OnRemoval.COUNT)
            if not columns:
                continue
            selected = ", ".join(f'"{name}"' for name in columns)
            reader = new.sql(f"SELECT {selected} FROM {table.name}").to_arrow_reader(_AT_ONCE)
            count = sum(
                int(looking.rows(pa.Table.from_batches([batch]), columns).sum()) for batch in reader
            )
            if count:
                self.removed.remains[table.name] = count

    def _redact_what_comes(self, new: duckdb.DuckDBPyConnection) -> None:
        """What is loaded later has keyed hashes where nothing may stand any more."""
        said = read_fact(new, "mapping")
        if said is not None:
            mapping = FieldMapping.from_json(said)
            paths = (*mapping.redacted, *self._wish.values, *self._wish.redacted)
            kept = replace(mapping, redacted=tuple(dict.fromkeys(paths)))
            write_fact(new, "mapping", kept.to_json())

    # Tables

    def _events(self, rows: pa.Table) -> pa.Table:
        offsets = rows["offset"].to_numpy()
        mask = np.ones(len(offsets), bool)
        if self._offsets is not None:
            mask = np.isin(offsets, self._offsets)
        changed, touched = self._without(rows, mask)
        self._rewritten.append(offsets[touched])
        self._remember_ids(rows, touched)
        self.removed.events += int(touched.sum())
        return changed

    def _edits(self, rows: pa.Table) -> pa.Table:
        changed, touched = self._without(rows, self._concerned(rows))
        gone = self._repeating(rows, schema.EDITS, OnRemoval.DELETE_ROW)
        self.removed.edits += int((touched | gone).sum())
        return changed.filter(pa.array(~gone))

    def _remember_ids(self, rows: pa.Table, touched: Truths) -> None:
        """Remember the ids of these events: calls name the event that caused them."""
        ids = rows["id"].filter(pa.array(touched)).to_pylist()
        self._ids.update(id_ for id_ in ids if id_ is not None)

    def _repeating(self, rows: pa.Table, table: Table, on_removal: OnRemoval) -> Truths:
        """Whether a row repeats a removed value in a column for which removal does this."""
        return self._looking.rows(rows, table.columns_to(on_removal))

    def _as_declared(self, table: Table, rows: pa.Table) -> pa.Table:
        """Rows of a table as its columns declare."""
        clear = pa.array(self._repeating(rows, table, OnRemoval.CLEAR))
        for name in table.columns_to(OnRemoval.CLEAR):
            rows = _put(rows, name, pc.if_else(clear, None, rows[name]))
        gone = self._repeating(rows, table, OnRemoval.DELETE_ROW)
        return rows.filter(pa.array(~gone))

    def _concerned(self, rows: pa.Table) -> Truths:
        """Edits that say what an event is of which something is removed."""
        own: Truths = pc.is_in(rows["kind"], pa.array(["replace", "insert", "move"])).to_numpy()
        if self._offsets is None:
            return own
        about = pc.is_in(rows["stream"], pa.array(self._wish.streams, pa.string())).to_numpy()
        chosen_ = pa.array(self._offsets)
        replaced = pc.equal(rows["kind"], "replace").to_numpy() & (
            pc.equal(rows["inserted"], 0).to_numpy()
        )
        at = replaced & pc.is_in(rows["offset"], chosen_).to_numpy()
        found: Truths = own & (about | at | pc.is_in(rows["moved_offset"], chosen_).to_numpy())
        return found

    def _without(self, rows: pa.Table, mask: Truths) -> tuple[pa.Table, Truths]:
        """Events without what is removed from those of the mask, and which of them are otherwise."""
        if not self._wish.of_values:
            where = pa.array(mask)
            for name in set(EMPTIED) & set(rows.column_names):
                rows = _put(rows, name, pc.if_else(where, None, rows[name]))
            return _put(rows, "type", pc.if_else(where, REMOVED, rows["type"])), mask
        touched = np.zeros(rows.num_rows, bool)
        at = np.flatnonzero(mask)
        for name in {*self._gone.fields, *self._hashed.fields}:
            texts = rows[name].take(pa.array(at)).to_pylist()
            new = [self._hashed.value(name, self._gone.value(name, text)) for text in texts]
            changed = np.fromiter((a != b for a, b in zip(texts, new, strict=True)), bool, len(at))
            touched[at[changed]] = True
            if changed.any():
                whole = np.asarray(rows[name].to_pylist(), object)
                whole[at] = new
                rows = _put(rows, name, pa.array(whole, rows[name].type))
        return rows, touched

    def _rejects(self, rows: pa.Table) -> pa.Table:
        told = self._repeating(rows, schema.REJECTS, OnRemoval.CLEAR)
        self.removed.rejects += int(told.sum())
        where = pa.array(told)
        rows = _put(rows, "text", pc.if_else(where, None, rows["text"]))
        return _put(rows, "reason", pc.if_else(where, "removed", rows["reason"]))

    def _calls(self, rows: pa.Table) -> pa.Table:
        gone = self._repeating(rows, schema.CALLS, OnRemoval.DELETE_ROW)
        gone |= self._of_rewritten(rows["offset"])
        gone |= _is_in(rows["event_id"], self._ids)
        gone |= _is_in(rows["correlation_id"], self._ids | self._correlations)
        self.removed.calls += int(gone.sum())
        kept = rows.filter(pa.array(~gone))
        self._bodies.update(filter(None, kept["body"].to_pylist()))
        return kept

    def _kept_bodies(self, rows: pa.Table) -> pa.Table:
        rows = rows.filter(pc.is_in(rows["body"], pa.array(self._bodies, pa.string())))
        return rows.filter(pa.array(~self._repeating(rows, schema.BODIES, OnRemoval.DELETE_ROW)))

    def _of_rewritten(self, offsets: pa.ChunkedArray) -> Truths:
        rewritten = pa.array(np.concatenate([np.empty(0, np.int64), *self._rewritten]))
        found: Truths = pc.is_in(offsets, rewritten).to_numpy()
        return found

    def _timelines(self, rows: pa.Table) -> pa.Table:
        told = self._repeating(rows, schema.TIMELINES, OnRemoval.CLEAR)
        self.removed.notes += int(told.sum())
        return _put(rows, "note", pc.if_else(pa.array(told), "", rows["note"]))

    def _bookmarks(self, rows: pa.Table) -> pa.Table:
        gone = self._repeating(rows, schema.BOOKMARKS, OnRemoval.DELETE_ROW)
        if not self._wish.of_values:
            gone |= self._of_rewritten(rows["offset"])
        self.removed.bookmarks += int(gone.sum())
        return rows.filter(pa.array(~gone))

    def _watches(self, rows: pa.Table) -> pa.Table:
        gone = self._repeating(rows, schema.WATCHES, OnRemoval.DELETE_ROW)
        self.removed.watches += int(gone.sum())
        return rows.filter(pa.array(~gone))

    @property
    def _looking(self) -> ValueSearch:
        """What is looked for, when all events have been through."""
        if self._looked_for is None:
            self._looked_for = ValueSearch(self._met)
        return self._looked_for


def _put(rows: pa.Table, name: str, column: Any) -> pa.Table:
    place = rows.schema.get_field_index(name)
    return rows.set_column(
        place, rows.schema.field(name), pc.cast(column, rows.schema.field(name).type)
    )


def _is_in(column: pa.ChunkedArray, ids: set[str]) -> Truths:
    """Whether a row has one of these ids."""
    found: Truths = pc.is_in(column, pa.array(sorted(ids), pa.string())).to_numpy()
    return found
