"""Which field of a source's records is which field of an event, and how that was found out.

Names are compared in lower case without punctuation, and a name counts only where the values agree
with it. The person sees the result and overrides it field by field (`--map stream=case_id`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from storage import times
from storage.errors import SourceError

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

Record = Mapping[str, Any]
"""A record of the source: column name to value, as far as a sample needs it."""

_NAMES: dict[str, tuple[str, ...]] = {
    "offset": (
        *("offset", "globalposition", "globalindex", "seqid", "sequence", "seq", "position"),
        *("logposition", "sequencenumber", "no"),
    ),
    "time": (
        *("time", "timestamp", "ts", "occurredat", "occurredon", "recordedat", "createdat"),
        *("created", "eventtime", "timetimestamp", "datetime", "at", "when", "date", "dt"),
    ),
    "stream": (
        *("stream", "streamid", "streamname", "aggregateid", "aggregateidentifier", "entityid"),
        *("originatorid", "persistenceid", "caseid", "caseconceptname", "case", "aggregate"),
        *("entity", "subject", "key"),
    ),
    "revision": (
        *("revision", "streamrevision", "streamversion", "streamposition", "aggregateversion"),
        *("aggregatesequencenumber", "originatorversion", "sequencenumber", "eventnumber"),
        *("version",),
    ),
    "type": (
        *("type", "eventtype", "eventname", "activity", "conceptname", "messagetype", "kind"),
        *("event", "action", "op", "operation", "name"),
    ),
    "version": ("version", "schemaversion", "eventversion", "typeversion", "payloadrevision"),
    "id": ("id", "eventid", "eventidentifier", "messageid", "uuid", "identifier", "recordid"),
    "correlation_id": ("correlationid", "correlation", "traceid"),
    "causation_id": ("causationid", "causation", "causeid", "causedby"),
    "data": ("data", "payload", "eventdata", "messagedata", "body", "content"),
    "meta": ("meta", "metadata", "eventmetadata", "messagemetadata", "headers"),
}


@dataclass(frozen=True)
class Source:
    """Where an event's field comes from."""

    column: str
    """A column's name, or a path into one (`meta.dt`) where no column has the whole name."""
    why: str
    """`name`, `values` or `given`."""


@dataclass(frozen=True)
class FieldMapping:
    """From event fields to columns of the source. A field that is left out isn't in the source."""

    fields: Mapping[str, Source]
    columns: tuple[str, ...]
    """All columns that were seen, in their order."""
    time_notation: str = "iso"
    """How the time column writes a time, in the words of `storage.times`."""
    whole_log: str = ""
    """The stream that every event belongs to where the source names none: the log's own name."""

    def column(self, field: str) -> str | None:
        source = self.fields.get(field)
        return None if source is None else source.column

    @property
    def taken(self) -> tuple[str, ...]:
        """Columns that became a field of their own, and so aren't repeated in `data`."""
        return tuple(s.column for s in self.fields.values() if s.column in self.columns)

    def describe(self) -> list[tuple[str, str, str]]:
        """(field, column, why) in the order of an event's fields, for showing it to a person."""
        rows = []
        for field in FIELDS:
            source = self.fields.get(field)
            if source is not None:
                note = source.why
                if field == "time" and self.time_notation != "iso":
                    note += f", read as {self.time_notation}"
                rows.append((field, source.column, note))
            elif field == "offset":
                rows.append((field, "–", "the order of the lines"))
            elif field == "stream":
                rows.append((field, "–", f"the whole log is one stream, {self.whole_log}"))
            elif field == "data":
                rows.append((field, "–", "all fields that are not mapped"))
        return rows

    def to_json(self) -> dict[str, Any]:
        return {
            "fields": {f: {"column": s.column, "why": s.why} for f, s in self.fields.items()},
            "columns": list(self.columns),
            "time_notation": self.time_notation,
            "whole_log": self.whole_log,
        }

    @classmethod
    def from_json(cls, value: Any) -> "FieldMapping":
        if value["time_notation"] not in times.NOTATIONS:
            raise ValueError(value["time_notation"])
        return cls(
            fields={f: Source(s["column"], s["why"]) for f, s in value["fields"].items()},
            columns=tuple(value["columns"]),
            time_notation=value["time_notation"],
            whole_log=value["whole_log"],
        )


def detect(records: Sequence[Record], given: Mapping[str, str], whole_log: str) -> FieldMapping:
    """The mapping for records like these; `given` is what the person said, and always holds.

    Raises `SourceError` where `given` names a field that events don't have or a column that no
    record of the sample has.
    """
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    fields: dict[str, Source] = {}
    for field, column in given.items():
        if field not in FIELDS:
            raise SourceError(
                f"An event has no field {field!r}; --map takes one of {', '.join(FIELDS)}."
            )
        if not any(value_at(record, column) is not None for record in records):
            raise SourceError(
                f"No record has a column {column!r} for --map {field}={column};"
                f" there are: {', '.join(columns) or 'none'}."
            )
        fields[field] = Source(column, "given")
    taken = {source.column for source in fields.values()}
    for field in _ORDER_OF_CHOICE:
        if field in fields:
            continue
        for column in _by_name(columns, field):
            if column not in taken and _CHECKS[field](records, column, fields):
                fields[field] = Source(column, "name")
                taken.add(column)
                break
    if "time" not in fields:
        for column in columns:
            values = [record.get(column) for record in records]
            texts = [value for value in values if isinstance(value, str)]
            if column not in taken and texts and times.notation(texts):
                fields["time"] = Source(column, "values")
                break
    mapping = FieldMapping(fields, columns, whole_log=whole_log)
    if "time" in fields:
        column = fields["time"].column
        how = times.notation([value_at(record, column) for record in records])
        mapping = replace(mapping, time_notation=how or "epoch_s")
        if how is None and any(isinstance(value_at(r, column), str) for r in records):
            mapping = replace(mapping, time_notation="iso")
    return mapping


def value_at(record: Record, column: str) -> Any:
    """The value of a column, or at a path into one (`meta.dt`)."""
    if column in record:
        return record[column]
    value: Any = record
    for part in column.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return None
        value = value[part]
    return value


# What takes `version` or `sequencenumber` away from whom: a revision is tried before both.
_ORDER_OF_CHOICE = (
    *("time", "type", "stream", "data", "meta", "id", "correlation_id", "causation_id"),
    *("revision", "offset", "version"),
)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).lower()


def _by_name(columns: Iterable[str], field: str) -> list[str]:
    plain = {column: _plain(column) for column in columns}
    return [c for name in _NAMES[field] for c in plain if plain[c] == name]


Check = Callable[[Sequence[Record], str, Mapping[str, Source]], bool]


def _values(records: Sequence[Record], column: str) -> list[Any]:
    return [record[column] for record in records if record.get(column) is not None]


def _is_time(records: Sequence[Record], column: str, _: Mapping[str, Source]) -> bool:
    values = _values(records, column)
    if not values or any(isinstance(v, (dict, list, bool)) for v in values):
        return False
    # A column called `time` with small numbers (seconds since midnight) is still the time.
    return times.notation(values) is not None or all(_is_number(v) for v in values)


def _is_scalar(records: Sequence[Record], column: str, _: Mapping[str, Source]) -> bool:
    values = _values(records, column)
    return bool(values) and not any(isinstance(v, (dict, list, bool)) for v in values)


def _is_type(records: Sequence[Record], column: str, fields: Mapping[str, Source]) -> bool:
    values = _values(records, column)
    if not values or not _is_scalar(records, column, fields):
        return False
    return len(set(map(str, values))) <= max(50, len(values) // 5)


def _is_unique(records: Sequence[Record], column: str, fields: Mapping[str, Source]) -> bool:
    values = [str(value) for value in _values(records, column)]
    # At-least-once delivery repeats ids; a foreign key repeats them all the time.
    return _is_scalar(records, column, fields) and len(set(values)) >= 0.9 * len(values)


def _is_payload(records: Sequence[Record], column: str, _: Mapping[str, Source]) -> bool:
    values = _values(records, column)
    objects = sum(isinstance(v, dict) or _looks_like_json(v) for v in values)
    return bool(values) and objects >= 0.8 * len(values)


def _is_integer(records: Sequence[Record], column: str, _: Mapping[str, Source]) -> bool:
    values = _values(records, column)
    return bool(values) and all(_is_number(v) and float(v).is_integer() for v in values)


def _is_revision(records: Sequence[Record], column: str, fields: Mapping[str, Source]) -> bool:
    """Whole numbers that rise within their stream: a schema version repeats, a revision doesn't."""
    stream = fields.get("stream")
    if stream is None or not _is_integer(records, column, fields):
        return False
    pairs = Counter(
        (str(value_at(record, stream.column)), str(record[column]))
        for record in records
        if record.get(column) is not None
    )
    streams = {pair[0] for pair in pairs}
    repeated = sum(pairs.values()) > len(streams)
    distinct = len(pairs) >= 0.9 * sum(pairs.values())
    return distinct and (repeated or _plain(column) != "version")


_CHECKS: dict[str, Check] = {
    "offset": _is_integer,
    "time": _is_time,
    "stream": _is_scalar,
    "revision": _is_revision,
    "type": _is_type,
    "version": _is_scalar,
    "id": _is_unique,
    "correlation_id": _is_scalar,
    "causation_id": _is_scalar,
    "data": _is_payload,
    "meta": _is_payload,
}


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, (int, float)):
        return True
    return isinstance(value, str) and re.fullmatch(r"-?\d+(\.\d+)?", value) is not None


def _looks_like_json(value: Any) -> bool:
    return isinstance(value, str) and value[:1] == "{" and value[-1:] == "}"
