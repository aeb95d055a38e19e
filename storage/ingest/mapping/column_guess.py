"""What the names of columns tell of a log in no format that is known by itself.

Names are compared in lower case without punctuation, and a name counts only where the values agree
with it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from storage.ingest.io import timestamps
from storage.ingest.mapping import Record, Source
from storage.ingest.mapping.expressions import At, of_record

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


Found = dict[str, Source]


def guess(records: Sequence[Record], given: Mapping[str, Source]) -> Found:
    """The fields that the names of columns tell, beside those that are `given`."""
    columns = tuple(dict.fromkeys(name for record in records for name in record))
    fields = dict(given)
    paths = [s.expression.path for s in given.values() if isinstance(s.expression, At)]
    taken = {path[0] for path in paths if len(path) == 1}
    for field in _ORDER_OF_CHOICE:
        if field in fields:
            continue
        for column in _by_name(columns, field):
            if column not in taken and _CHECKS[field](records, column, fields):
                fields[field] = Source(At((column,)), "name")
                taken.add(column)
                break
    if "time" not in fields:
        for column in columns:
            values = [record.get(column) for record in records]
            texts = [value for value in values if isinstance(value, str)]
            if column not in taken and texts and timestamps.notation(texts):
                fields["time"] = Source(At((column,)), "values")
                break
    return fields


# What takes `version` or `sequencenumber` away from whom: a revision is tried before both.
_ORDER_OF_CHOICE = (
    *("time", "type", "stream", "data", "meta", "id", "correlation_id", "causation_id"),
    *("revision", "offset", "version"),
)


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """A name as names are compared: `globalIndex` is `global_index`."""
    return re.sub(r"[\W_]+", "", name).lower()


def _by_name(columns: Iterable[str], field: str) -> list[str]:
    folded = {column: plain(column) for column in columns}
    return [c for name in _NAMES[field] for c in folded if folded[c] == name]


_SURELY_TYPES = ("type", "eventtype", "eventname", "messagetype")
"""Names that nothing else has, however many types a log begins with."""

Check = Callable[[Sequence[Record], str, Mapping[str, Source]], bool]


def _values(records: Sequence[Record], column: str) -> list[Any]:
    return [record[column] for record in records if record.get(column) is not None]


def _is_time(records: Sequence[Record], column: str, _: Mapping[str, Source]) -> bool:
    values = _values(records, column)
    if not values or any(isinstance(v, (dict, list, bool)) for v in values):
        return False
    # A column called `time` with small numbers (seconds since midnight) is still the time.
    return timestamps.notation(values) is not None or all(_is_number(v) for v in values)


def _is_scalar(records: Sequence[Record], column: str, _: Mapping[str, Source]) -> bool:
    values = _values(records, column)
    return bool(values) and not any(isinstance(v, (dict, list, bool)) for v in values)


def _is_type(records: Sequence[Record], column: str, fields: Mapping[str, Source]) -> bool:
    values = _values(records, column)
    if not values or not _is_scalar(records, column, fields):
        return False
    few = len(set(map(str, values))) <= max(50, len(values) // 5)
    return few or plain(column) in _SURELY_TYPES


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
        (str(of_record(stream.expression, record)), str(record[column]))
        for record in records
        if record.get(column) is not None
    )
    streams = {pair[0] for pair in pairs}
    repeated = sum(pairs.values()) > len(streams)
    distinct = len(pairs) >= 0.9 * sum(pairs.values())
    return distinct and (repeated or plain(column) != "version")


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
