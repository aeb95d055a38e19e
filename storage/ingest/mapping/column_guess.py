"""Guess the fields of a log without a known envelope from the names of its columns.

Names are compared in lower case without punctuation. A name counts only if the values of the column
fit the field.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from storage.ingest.io import timestamps
from storage.ingest.mapping import FieldSource, Record
from storage.ingest.mapping.expressions import PathValue, evaluate_record

_FIELD_NAMES: dict[str, tuple[str, ...]] = {
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


FieldSources = dict[str, FieldSource]


def guess_fields(records: Sequence[Record], given: Mapping[str, FieldSource]) -> FieldSources:
    """Return the `given` fields, and those guessed from names and values of the other columns."""
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    fields = dict(given)
    paths = [s.expression.path for s in given.values() if isinstance(s.expression, PathValue)]
    used_columns = {path[0] for path in paths if len(path) == 1}
    for field in _GUESS_ORDER:
        if field in fields:
            continue
        for column in _columns_named_like(columns, field):
            if column not in used_columns and _FIELD_CHECKS[field](records, column, fields):
                fields[field] = FieldSource(PathValue((column,)), "name")
                used_columns.add(column)
                break
    if "time" not in fields:
        for column in columns:
            values = [record.get(column) for record in records]
            texts = [value for value in values if isinstance(value, str)]
            if column not in used_columns and texts and timestamps.detect_notation(texts):
                fields["time"] = FieldSource(PathValue((column,)), "values")
                break
    return fields


# Each column is used once, so the order decides: `version` and `sequencenumber` may be a revision,
# which is tried before the fields version and offset.
_GUESS_ORDER = (
    *("time", "type", "stream", "data", "meta", "id", "correlation_id", "causation_id"),
    *("revision", "offset", "version"),
)


@lru_cache(maxsize=4096)
def normalize_name(name: str) -> str:
    """Return a name as names are compared: `globalIndex` and `global_index` give the same."""
    return re.sub(r"[\W_]+", "", name).lower()


def _columns_named_like(columns: Iterable[str], field: str) -> list[str]:
    normalized = {column: normalize_name(column) for column in columns}
    return [c for name in _FIELD_NAMES[field] for c in normalized if normalized[c] == name]


_CERTAIN_TYPE_NAMES = ("type", "eventtype", "eventname", "messagetype")
"""Names that always mean the type, even if the sample has many different values."""

FieldCheck = Callable[[Sequence[Record], str, Mapping[str, FieldSource]], bool]


def _present_values(records: Sequence[Record], column: str) -> list[Any]:
    return [record[column] for record in records if record.get(column) is not None]


def _is_time(records: Sequence[Record], column: str, _: Mapping[str, FieldSource]) -> bool:
    values = _present_values(records, column)
    if not values or any(isinstance(v, (dict, list, bool)) for v in values):
        return False
    # A column called `time` with small numbers, such as seconds since midnight, is still the time.
    return timestamps.detect_notation(values) is not None or all(_is_number(v) for v in values)


def _is_scalar(records: Sequence[Record], column: str, _: Mapping[str, FieldSource]) -> bool:
    values = _present_values(records, column)
    return bool(values) and not any(isinstance(v, (dict, list, bool)) for v in values)


def _is_type(records: Sequence[Record], column: str, fields: Mapping[str, FieldSource]) -> bool:
    values = _present_values(records, column)
    if not values or not _is_scalar(records, column, fields):
        return False
    has_few_types = len(set(map(str, values))) <= max(50, len(values) // 5)
    return has_few_types or normalize_name(column) in _CERTAIN_TYPE_NAMES


def _is_unique(records: Sequence[Record], column: str, fields: Mapping[str, FieldSource]) -> bool:
    values = [str(value) for value in _present_values(records, column)]
    # At-least-once delivery repeats a few ids; a foreign key repeats most of them.
    return _is_scalar(records, column, fields) and len(set(values)) >= 0.9 * len(values)


def _is_payload(records: Sequence[Record], column: str, _: Mapping[str, FieldSource]) -> bool:
    values = _present_values(records, column)
    objects = sum(isinstance(v, dict) or _looks_like_json(v) for v in values)
    return bool(values) and objects >= 0.8 * len(values)


def _is_integer(records: Sequence[Record], column: str, _: Mapping[str, FieldSource]) -> bool:
    values = _present_values(records, column)
    return bool(values) and all(_is_number(v) and float(v).is_integer() for v in values)


def _is_revision(records: Sequence[Record], column: str, fields: Mapping[str, FieldSource]) -> bool:
    """Return whether the integers differ within each stream.

    A schema version repeats within a stream; a revision doesn't.
    """
    stream = fields.get("stream")
    if stream is None or not _is_integer(records, column, fields):
        return False
    pairs = Counter(
        (str(evaluate_record(stream.expression, record)), str(record[column]))
        for record in records
        if record.get(column) is not None
    )
    streams = {pair[0] for pair in pairs}
    repeated = sum(pairs.values()) > len(streams)
    distinct = len(pairs) >= 0.9 * sum(pairs.values())
    return distinct and (repeated or normalize_name(column) != "version")


_FIELD_CHECKS: dict[str, FieldCheck] = {
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
