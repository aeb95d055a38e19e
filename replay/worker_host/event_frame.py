"""Builds the frame that sends events to a worker, from Arrow columns without a Python loop over rows.

`replay.worker.protocol.event.EventBatch` reads this layout.
"""

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

EVENT_COLUMNS = (
    *("offset", "time", "stream", "revision", "type", "version"),
    *("id", "correlation_id", "causation_id", "data", "meta"),
)
SELECT_COLUMNS = ", ".join(f'"{name}"' for name in EVENT_COLUMNS)

_MISSING_NUMBER = -(2**63)
_TEXT_COLUMNS = ("version", "id", "correlation_id", "causation_id", "meta")


def build_event_frame(
    events: pa.Table, answers: pa.Table | None = None
) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return the header and parts of a frame with these events (columns `EVENT_COLUMNS`).

    `answers` adds recorded answers to their calls (`offset`, and `answer` as JSON).
    """
    table = events.combine_chunks()
    parts: dict[str, Any] = {"offset": _column_buffer(get_column(table, "offset"))}
    for name in ("time", "revision"):
        numbers = get_column(table, name).cast(pa.int64())
        parts[name] = _column_buffer(pc.fill_null(numbers, _MISSING_NUMBER))
    for name in ("type", "stream"):
        coded = get_column(table, name).dictionary_encode()
        parts[f"{name}s"] = json.dumps(coded.dictionary.to_pylist()).encode()
        parts[f"{name}_codes"] = _column_buffer(pc.fill_null(coded.indices, -1))
    for name in _TEXT_COLUMNS:
        texts = get_column(table, name)
        parts[name] = _join_texts(texts)
        parts[f"{name}_lengths"] = _column_buffer(_text_lengths(texts))
    data = get_column(table, "data")
    parts["data"] = _join_json_list(data)
    parts["data_lengths"] = _column_buffer(_text_lengths(data))
    if answers is not None and answers.num_rows:
        combined = answers.combine_chunks()
        parts["answered"] = _column_buffer(get_column(combined, "offset"))
        parts["answers"] = _join_json_list(get_column(combined, "answer"))
    header = {"kind": "batch", "count": table.num_rows, "columns": list(parts)}
    return header, tuple(parts.values())


def get_column(table: pa.Table, name: str) -> pa.Array:
    """Return a column of a combined table, as one array; an empty one if the table has no rows."""
    column = table[name]
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _text_lengths(column: pa.Array) -> pa.Array:
    return pc.fill_null(pc.binary_length(column), -1).cast(pa.int32())


def _join_texts(column: pa.Array) -> Any:
    """Join the texts of a column, without separators."""
    joined = pc.binary_join(_wrap_in_list(pc.drop_null(column)), "")
    return joined[0].as_buffer() or b""


def _join_json_list(column: pa.Array) -> bytes:
    """Join the JSON texts of a column to one JSON list, which a worker decodes at once."""
    joined = pc.binary_join(_wrap_in_list(pc.fill_null(column, "null")), ",")
    return b"[" + (joined[0].as_buffer() or b"") + b"]"


def _wrap_in_list(column: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(column)], pa.int32()), column)


def _column_buffer(column: pa.Array) -> Any:
    width = column.type.bit_width // 8
    whole = column.buffers()[1]
    if whole is None:
        return b""
    return whole.slice(column.offset * width, len(column) * width)
