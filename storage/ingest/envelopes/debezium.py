"""Debezium's database changes, and their flattened variant. Source: its connectors' documentation.

The type of an event is table and operation (`c` create, `u` update, `d` delete, `r` read by a
snapshot, `t` truncate). The stream is table and row key. The data is the row after the change, or
before it if the row was deleted. The row before the change is in `meta`.
"""

from collections.abc import Sequence
from typing import Any

from storage.ingest.envelopes.envelope import (
    ORDER_BY_PARTITION,
    Envelope,
    FieldExpressions,
    NormalizedRecord,
    first_present,
    fixed_text,
    join_texts,
    path_value,
)
from storage.ingest.mapping.expressions import (
    Record,
    RemainingMembers,
    get_value,
    parse_embedded_json,
)

_KEY_NAMES = ("id", "_id", "uuid", "key", "code")


def _is_change(record: NormalizedRecord) -> bool:
    source = parse_embedded_json(record["source"])
    return record["op"] in tuple("cudrtm") and isinstance(source, dict) and "db" in source


def _guess_row_key(records: Sequence[Record]) -> list[str]:
    """Return the columns that may be the row's key, guessed from their names."""
    rows: list[Any] = [
        parse_embedded_json(get_value(r, (side,))) for r in records for side in ("after", "before")
    ]
    names = dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row)
    known = [name for name in _KEY_NAMES if name in names]
    return known or [name for name in names if name.endswith(("_id", "Id"))][:1]


def _change_fields(records: Sequence[Record]) -> FieldExpressions:
    table = first_present(
        path_value("source", "table"),
        path_value("source", "collection"),
        path_value("source", "schema"),
    )
    keys = [
        path_value(side, name) for name in _guess_row_key(records) for side in ("after", "before")
    ]
    return {
        "offset": first_present(
            path_value("source", "lsn"), path_value("source", "pos"), path_value("source", "scn")
        ),
        "time": first_present(path_value("source", "ts_ms"), path_value("ts_ms")),
        "stream": join_texts(table, first_present(*keys), separator=":") if keys else table,
        "type": join_texts(table, path_value("op"), separator="."),
        "correlation_id": first_present(
            path_value("transaction", "id"), path_value("source", "txId")
        ),
        "data": first_present(path_value("after"), path_value("before")),
        "meta": RemainingMembers((), ("after",)),
    }


def _flattened_fields(records: Sequence[Record]) -> FieldExpressions:
    names = dict.fromkeys(name for record in records for name in record)
    key = next((name for name in (*_KEY_NAMES, *names) if name in names), "id")
    table = first_present(
        path_value("__table"),
        path_value("__source_table"),
        path_value("__collection"),
        fixed_text("row"),
    )
    return {
        "offset": first_present(
            path_value("__lsn"), path_value("__source_lsn"), path_value("__source_pos")
        ),
        "time": first_present(path_value("__source_ts_ms"), path_value("__ts_ms")),
        "stream": join_texts(table, path_value(key), separator=":"),
        "type": join_texts(
            table, first_present(path_value("__op"), path_value("__deleted")), separator="."
        ),
        "data": RemainingMembers((), tuple(name for name in names if name.startswith("__"))),
    }


DEBEZIUM = Envelope(
    name="debezium",
    required_members=("op", "source"),
    fields=_change_fields,
    order_description=ORDER_BY_PARTITION,
    matches_values=lambda record: (
        any(side in record for side in ("after", "before", "patch")) and _is_change(record)
    ),
)
FLATTENED = Envelope(
    name="debezium-flat",
    required_members=("__deleted",),
    fields=_flattened_fields,
    order_description=ORDER_BY_PARTITION,
    exact_members=("__deleted",),
)
