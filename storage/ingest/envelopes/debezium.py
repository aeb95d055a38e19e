"""Debezium's changes of a database, and their flattened variant. Source: its connectors' documentation.

An event's type is its table and operation (`c` create, `u` update, `d` delete, `r` read by a
snapshot, `t` truncate), its stream the table and the row's key, its data the row after the change, or
before it where it is gone. What stood there before is in `meta`.
"""

from collections.abc import Sequence
from typing import Any

from storage.ingest.envelopes.envelope import (
    BY_PARTITION,
    Envelope,
    Fields,
    Folded,
    at,
    first,
    fixed,
    joined,
)
from storage.ingest.mapping.expressions import Record, Rest, opened, value_at

_KEYS = ("id", "_id", "uuid", "key", "code")


def _looks(record: Folded) -> bool:
    source = opened(record["source"])
    return record["op"] in tuple("cudrtm") and isinstance(source, dict) and "db" in source


def _row_key(records: Sequence[Record]) -> list[str]:
    """The column that names a row, as far as names tell."""
    rows: list[Any] = [
        opened(value_at(r, (side,))) for r in records for side in ("after", "before")
    ]
    names = dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row)
    known = [name for name in _KEYS if name in names]
    return known or [name for name in names if name.endswith(("_id", "Id"))][:1]


def _changes(records: Sequence[Record]) -> Fields:
    table = first(at("source", "table"), at("source", "collection"), at("source", "schema"))
    keys = [at(side, name) for name in _row_key(records) for side in ("after", "before")]
    return {
        "offset": first(at("source", "lsn"), at("source", "pos"), at("source", "scn")),
        "time": first(at("source", "ts_ms"), at("ts_ms")),
        "stream": joined(table, first(*keys), between=":") if keys else table,
        "type": joined(table, at("op"), between="."),
        "correlation_id": first(at("transaction", "id"), at("source", "txId")),
        "data": first(at("after"), at("before")),
        "meta": Rest((), ("after",)),
    }


def _rows(records: Sequence[Record]) -> Fields:
    names = dict.fromkeys(name for record in records for name in record)
    key = next((name for name in (*_KEYS, *names) if name in names), "id")
    table = first(at("__table"), at("__source_table"), at("__collection"), fixed("row"))
    return {
        "offset": first(at("__lsn"), at("__source_lsn"), at("__source_pos")),
        "time": first(at("__source_ts_ms"), at("__ts_ms")),
        "stream": joined(table, at(key), between=":"),
        "type": joined(table, first(at("__op"), at("__deleted")), between="."),
        "data": Rest((), tuple(name for name in names if name.startswith("__"))),
    }


DEBEZIUM = Envelope(
    name="debezium",
    requires=("op", "source"),
    fields=_changes,
    order=BY_PARTITION,
    looks=lambda record: (
        any(side in record for side in ("after", "before", "patch")) and _looks(record)
    ),
)
FLATTENED = Envelope(
    name="debezium-flat",
    requires=("__deleted",),
    fields=_rows,
    order=BY_PARTITION,
    exact=("__deleted",),
)
