"""The edits of a fork and their table: a row for each dropped, replaced, inserted or moved event, and for
each override of answers or states.

Edits apply to the parent in the order of their numbers. A step groups the edits that a person made
at once; it is undone and redone as a whole.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import duckdb

from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.db.query import fetch_rows, time_from_micros

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class EditedEvent:
    """The event that an edit puts on a fork. `data` and `meta` are JSON text."""

    time: datetime | None
    stream: str | None
    revision: int | None
    type: str | None
    version: str | None
    id: str | None
    correlation_id: str | None
    causation_id: str | None
    data: str | None
    meta: str | None


EVENT_FIELDS = tuple(field.name for field in fields(EditedEvent))


@dataclass(frozen=True)
class Edit:
    """One edit. `append_step` sets `step` and `number`."""

    kind: EditKind
    label: Label
    """The edited event; for an insert or a move, the event's new label."""
    after: Label | None = None
    """For an insert or a move: the event that it follows."""
    moved: Label | None = None
    """For a move: the event's label before the move."""
    event: EditedEvent | None = None
    """For a replace, an insert or a move: the resulting event."""
    value: str | None = None
    """For an edit that isn't about an event: an override as JSON, or a projection's label."""
    step: int = 0
    number: int = 0
    undone: bool = False

    @property
    def first_label(self) -> Label:
        """The first event that the edit changes."""
        if self.moved is not None:
            return min(self.moved, self.label)
        return self.label


_EDIT_COLUMNS = (
    *("step", "edit", "undone", "kind", "offset", "inserted", "after_offset", "after_inserted"),
    *("moved_offset", "moved_inserted", "said"),
    *EVENT_FIELDS,
)


def append_step(edits: Sequence[Edit], new: Iterable[Edit]) -> list[Edit]:
    """Return the edits of a fork with a new step at the end and without the undone edits."""
    active = [edit for edit in edits if not edit.undone]
    step = max((edit.step for edit in active), default=0) + 1
    number = max((edit.number for edit in active), default=0)
    return [
        *active,
        *(replace(edit, step=step, number=number + n) for n, edit in enumerate(new, 1)),
    ]


def undo_last_step(edits: Sequence[Edit]) -> list[Edit] | None:
    """Return the edits with the last active step undone, or None if no step is active."""
    steps = [edit.step for edit in edits if not edit.undone]
    if not steps:
        return None
    return [replace(e, undone=True) if e.step == max(steps) else e for e in edits]


def redo_next_step(edits: Sequence[Edit]) -> list[Edit] | None:
    """Return the edits with the first undone step active again, or None if no step is undone."""
    steps = [edit.step for edit in edits if edit.undone]
    if not steps:
        return None
    return [replace(e, undone=False) if e.step == min(steps) else e for e in edits]


def read_edits(connection: duckdb.DuckDBPyConnection, timeline: str) -> list[Edit]:
    """Return the edits of a fork in order, including undone ones."""
    columns = ", ".join(
        'epoch_us("time") AS "time"' if name == "time" else f'"{name}"' for name in _EDIT_COLUMNS
    )
    rows = fetch_rows(
        connection, f"SELECT {columns} FROM edits WHERE timeline = ? ORDER BY edit", [timeline]
    )
    return [_edit_of_row(row) for row in rows]


def write_edits(
    connection: duckdb.DuckDBPyConnection, timeline: str, edits: Sequence[Edit]
) -> None:
    """Replace all stored edits of a fork by these."""
    connection.execute("DELETE FROM edits WHERE timeline = ?", [timeline])
    if edits:
        written = ", ".join(f'"{name}"' for name in _EDIT_COLUMNS)
        connection.register("new_edits", _edits_table(edits))
        connection.execute(
            f"INSERT INTO edits (timeline, {written}) SELECT ?, {written} FROM new_edits",
            [timeline],
        )
        connection.unregister("new_edits")


def _edits_table(edits: Sequence[Edit]) -> "pa.Table":
    import pyarrow as pa  # noqa: PLC0415 - reading a fork's edits needs no Arrow

    columns: dict[str, list[Any]] = {
        "step": [edit.step for edit in edits],
        "edit": [edit.number for edit in edits],
        "undone": [edit.undone for edit in edits],
        "kind": [edit.kind.value for edit in edits],
        "said": [edit.value for edit in edits],
    }
    for name, label in (("", "label"), ("after_", "after"), ("moved_", "moved")):
        labels: list[Label | None] = [getattr(edit, label) for edit in edits]
        columns[f"{name}offset"] = [None if one is None else one.offset for one in labels]
        columns[f"{name}inserted"] = [None if one is None else one.inserted for one in labels]
    for name in EVENT_FIELDS:
        columns[name] = [None if e.event is None else getattr(e.event, name) for e in edits]
    kinds = {"time": pa.timestamp("us", "UTC"), "undone": pa.bool_(), "revision": pa.int64()}
    kinds |= {name: pa.int64() for name in columns if name.endswith(("offset", "inserted"))}
    kinds |= {"step": pa.int64(), "edit": pa.int64()}
    return pa.table({n: pa.array(v, kinds.get(n, pa.string())) for n, v in columns.items()})


def _edit_of_row(row: dict[str, Any]) -> Edit:
    def label(name: str) -> Label | None:
        offset = row[f"{name}offset"]
        return None if offset is None else Label(offset, row[f"{name}inserted"])

    kind = EditKind(row["kind"])
    event = None
    if kind.needs_event:
        values = {name: row[name] for name in EVENT_FIELDS}
        event = EditedEvent(**{**values, "time": time_from_micros(values["time"])})
    return Edit(
        kind,
        label("") or Label(0),
        label("after_"),
        label("moved_"),
        event,
        row["said"],
        row["step"],
        row["edit"],
        row["undone"],
    )
