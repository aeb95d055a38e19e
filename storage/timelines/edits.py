"""Edits of a fork, as they are kept: a row for each event that is dropped, replaced, inserted or moved,
and for what else is otherwise on it.

They are laid over the parent in the order of their numbers. A step is what a person did at once, and
is undone and redone as one.
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
    """An event as an edit makes it. `data` and `meta` are JSON text."""

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
    """One edit. `step` and `number` are given by `appended`."""

    kind: EditKind
    label: Label
    """The event that it is about; of an insert or a move, what the event is called there."""
    after: Label | None = None
    """Of an insert or a move: what it comes after."""
    moved: Label | None = None
    """Of a move: what the event was called."""
    event: EditedEvent | None = None
    """What a replace, an insert or a move puts there."""
    value: str | None = None
    """Of what isn't about an event: an override as JSON, or a projection's label."""
    step: int = 0
    number: int = 0
    undone: bool = False

    @property
    def first_label(self) -> Label:
        """The first event that it touches."""
        if self.moved is not None:
            return min(self.moved, self.label)
        return self.label


_EDIT_COLUMNS = (
    *("step", "edit", "undone", "kind", "offset", "inserted", "after_offset", "after_inserted"),
    *("moved_offset", "moved_inserted", "said"),
    *EVENT_FIELDS,
)


def append_step(edits: Sequence[Edit], new: Iterable[Edit]) -> list[Edit]:
    """The edits of a fork with a further step; what was undone is forgotten."""
    active = [edit for edit in edits if not edit.undone]
    step = max((edit.step for edit in active), default=0) + 1
    number = max((edit.number for edit in active), default=0)
    return [
        *active,
        *(replace(edit, step=step, number=number + n) for n, edit in enumerate(new, 1)),
    ]


def undo_last_step(edits: Sequence[Edit]) -> list[Edit] | None:
    """The edits with the last step that wasn't yet undone; None where there is none."""
    steps = [edit.step for edit in edits if not edit.undone]
    if not steps:
        return None
    return [replace(e, undone=True) if e.step == max(steps) else e for e in edits]


def redo_next_step(edits: Sequence[Edit]) -> list[Edit] | None:
    """The edits without the first step that was undone; None where there is none."""
    steps = [edit.step for edit in edits if edit.undone]
    if not steps:
        return None
    return [replace(e, undone=False) if e.step == min(steps) else e for e in edits]


def read_edits(connection: duckdb.DuckDBPyConnection, timeline: str) -> list[Edit]:
    """The edits of a fork, in order, the undone ones too."""
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
    """Keep these edits as all that a fork has."""
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
    import pyarrow as pa  # noqa: PLC0415 - whoever only reads a fork's edits needs no Arrow

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
