"""Mappings: which part of a source's records becomes which field of an event.

refold shows the mapping, and the user overrides it field by field (`--map stream=case_id`). The
workspace stores it, because appended records must be read like the first ones.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from storage.ingest.io import timestamps
from storage.ingest.mapping import expressions
from storage.ingest.mapping.expressions import (
    Expression,
    FieldPath,
    PathValue,
    Record,
    RemainingMembers,
)

__all__ = ["FIELDS", "PAYLOAD_FIELDS", "FieldMapping", "FieldSource", "Record", "parse_path"]

FIELDS = (
    "offset",
    "time",
    "stream",
    "revision",
    "type",
    "version",
    "id",
    "correlation_id",
    "causation_id",
    "data",
    "meta",
)

PAYLOAD_FIELDS = ("data", "meta")
"""The fields that hold JSON; all others hold text."""


@dataclass(frozen=True)
class FieldSource:
    """The expression that gives an event's field, and the reason why it was chosen."""

    expression: Expression
    reason: str
    """`name` or `values` (guessed from them), `given`, `rest`, or the name of an envelope."""

    @property
    def column_text(self) -> str:
        """The expression as readable text; a path is shown as typed for --map."""
        return expressions.format_expression(self.expression)


@dataclass(frozen=True)
class FieldMapping:
    """The mapping from event fields to expressions over a record.

    A field without an entry isn't in the source.
    """

    fields: Mapping[str, FieldSource]
    columns: tuple[str, ...]
    """All columns of the sampled records, in their order."""
    time_notation: str = "iso"
    """The notation of the time, one of `storage.ingest.io.timestamps.NOTATIONS`."""
    whole_log: str = ""
    """The stream of every event if the source names no streams: the name of the log."""
    envelope_names: tuple[str, ...] = ()
    """The names of the recognised envelopes, from outside in."""
    texts: frozenset[FieldPath] = field(default_factory=frozenset)
    """Paths to text that holds JSON."""
    required_paths: tuple[FieldPath, ...] = ()
    """Paths at which every record of the envelope has a value.

    A record that lacks one becomes `data` as a whole.
    """
    skip_condition: Expression | None = None
    """True for a record that the source marks as skipped."""
    order_description: str = "the order of the records"
    """What the order of the events is based on, as text."""
    decoders: Mapping[str, str] = field(default_factory=dict)
    """Decoding steps of payloads by field, as in `storage.ingest.payload_decoders`."""
    redacted: tuple[str, ...] = ()
    """Paths whose values never reach the workspace, as in `storage.ingest.redaction`."""
    is_newest_first: bool = False
    """Whether the newest record comes first; the loader then sorts by offset."""

    def expression_for(self, field: str) -> Expression | None:
        """Return the expression of a field, or None.

        Without a mapping for `data`, it is the object of all columns that aren't mapped.
        """
        source = self.fields.get(field)
        if source is None:
            return RemainingMembers((), self.mapped_columns) if field == "data" else None
        return source.expression

    def has_field(self, field: str) -> bool:
        return field in self.fields

    @property
    def mapped_columns(self) -> tuple[str, ...]:
        """Columns that are mapped to a field as a whole, and so aren't repeated in `data`."""
        whole = [s.expression for s in self.fields.values()]
        return tuple(str(e.path[0]) for e in whole if isinstance(e, PathValue) and len(e.path) == 1)

    def describe_fields(self) -> list[tuple[str, str, str]]:
        """Return (field, column, reason) as text, in the order of an event's fields."""
        rows = []
        for name in FIELDS:
            source = self.fields.get(name)
            if source is not None:
                note = source.reason
                if name == "time" and self.time_notation != "iso":
                    note += f", read as {self.time_notation}"
                hidden = [p for p in self.redacted if p.partition(".")[0] == name]
                if hidden:
                    note += f", without {', '.join(hidden)}"
                if name in self.decoders:
                    note += f", decoded as {self.decoders[name]}"
                rows.append((name, source.column_text, note))
            elif name == "offset":
                rows.append((name, "–", "the order of the lines"))
            elif name == "stream":
                rows.append((name, "–", f"the whole log is one stream, {self.whole_log}"))
            elif name == "data":
                rows.append((name, "–", "all fields that are not mapped"))
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return a JSON value from which `from_json` makes the same mapping."""
        return {
            "fields": {
                name: {"is": expressions.to_json(s.expression), "why": s.reason}
                for name, s in self.fields.items()
            },
            "columns": list(self.columns),
            "time_notation": self.time_notation,
            "whole_log": self.whole_log,
            "envelopes": list(self.envelope_names),
            "texts": [list(path) for path in sorted(self.texts, key=str)],
            "fits": [list(path) for path in self.required_paths],
            "skips": None
            if self.skip_condition is None
            else expressions.to_json(self.skip_condition),
            "order": self.order_description,
            "newest_first": self.is_newest_first,
            "decoders": dict(self.decoders),
            "redacted": list(self.redacted),
        }

    @classmethod
    def from_json(cls, value: Any) -> "FieldMapping":
        """Return the mapping that `to_json` wrote.

        Raises `TypeError`, `ValueError`, `LookupError` or `AttributeError` if the value has another
        shape.
        """
        if value["time_notation"] not in timestamps.NOTATIONS:
            raise ValueError(value["time_notation"])
        return cls(
            fields={
                name: FieldSource(_read_expression(s, value["columns"]), s["why"])
                for name, s in value["fields"].items()
            },
            columns=tuple(value["columns"]),
            time_notation=value["time_notation"],
            whole_log=value["whole_log"],
            envelope_names=tuple(value.get("envelopes", ())),
            texts=frozenset(tuple(path) for path in value.get("texts", ())),
            required_paths=tuple(tuple(path) for path in value.get("fits", ())),
            skip_condition=expressions.from_json(value["skips"]) if value.get("skips") else None,
            order_description=value.get("order", cls.order_description),
            is_newest_first=bool(value.get("newest_first")),
            redacted=tuple(map(str, value.get("redacted", ()))),
            decoders={str(k): str(v) for k, v in value.get("decoders", {}).items()},
        )


def parse_path(column: str, columns: Collection[str]) -> FieldPath:
    """Return the path of a column, or a path into one (`meta.dt`) if no column has the whole name."""
    if column in columns:
        return (column,)
    return tuple(int(step) if step.isdigit() else step for step in column.split("."))


def _read_expression(stored: Mapping[str, Any], columns: Collection[str]) -> Expression:
    if "column" in stored:  # written by versions that knew no envelopes
        return PathValue(parse_path(stored["column"], columns))
    return expressions.from_json(stored["is"])
