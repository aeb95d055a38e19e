"""Repair or reject rows that SQL couldn't read and that were inserted as raw text.

Each such row is parsed on its own: it is repaired in place, or becomes a reject and is removed.
The offsets after a removed row move down, because offsets must stay dense.
"""

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from storage.ingest.formats import Format, NotAnEventError, ReadPass
from storage.ingest.io import timestamps
from storage.ingest.mapping import FIELDS, FieldMapping
from storage.ingest.payload_decoders import Decoder
from storage.ingest.redaction import Redaction

_BATCH_ROWS = 10_000
_MAX_REJECT_CHARACTERS = 1000
"""Characters of a rejected line that the workspace keeps."""


def repair_or_reject_rows(
    connection: duckdb.DuckDBPyConnection,
    source_format: Format,
    mapping: FieldMapping,
    read_pass: ReadPass,
    *,
    first_offset: int,
    decoders: Mapping[str, Decoder],
    redaction: Redaction,
) -> int:
    """Repair or reject every row with a negative line number from `first_offset` on.

    Return the number of rows that became rejects and were removed.
    """
    rejected_offsets: list[int] = []
    next_offset = first_offset
    while rows := connection.execute(
        'SELECT "offset", -line, data FROM events WHERE line < 0 AND "offset" >= ?'
        ' ORDER BY "offset" LIMIT ?',
        [next_offset, _BATCH_ROWS],
    ).fetchall():
        next_offset = rows[-1][0] + 1
        repaired = []
        for offset, line, raw in rows:
            text = redaction.decrypt_line(raw) if redaction else raw
            fields = _parse_row(source_format, mapping, read_pass, line, text)
            if fields is None:
                rejected_offsets.append(offset)
            else:
                fields |= {name: decode(fields.get(name)) for name, decode in decoders.items()}
                repaired.append({**redaction.redact_row(fields), "position": offset})
        _update_events(connection, mapping, repaired)
    if rejected_offsets:
        gone = pa.table({"position": pa.array(rejected_offsets, pa.int64())})
        connection.register("gone", gone)
        connection.execute('DELETE FROM events WHERE "offset" IN (SELECT position FROM gone)')
        connection.unregister("gone")
        shifts = {"after": rejected_offsets, "shift": list(range(1, len(rejected_offsets) + 1))}
        connection.register("shifts", pa.table(shifts))
        connection.execute(
            'UPDATE events SET "offset" = closed.now FROM (SELECT "offset" AS was,'
            ' "offset" - shift AS now FROM events ASOF JOIN shifts ON "offset" > after) AS closed'
            ' WHERE "offset" = was'
        )
        connection.unregister("shifts")
    return len(rejected_offsets)


def _parse_row(
    source_format: Format, mapping: FieldMapping, read_pass: ReadPass, line: int, raw: str
) -> dict[str, str | None] | None:
    try:
        return source_format.repair_row(raw, mapping)
    except NotAnEventError as error:
        read_pass.add_reject(
            line, str(error), raw[:_MAX_REJECT_CHARACTERS].rstrip("\r\n"), len(raw.encode())
        )
        return None


def _update_events(
    connection: duckdb.DuckDBPyConnection,
    mapping: FieldMapping,
    events: list[dict[str, str | int | None]],
) -> None:
    if not events:
        return
    fields = [(name, pa.string()) for name in FIELDS]
    table = pa.Table.from_pylist(events, schema=pa.schema([*fields, ("position", pa.int64())]))
    connection.register("repaired", table)
    time_sql = timestamps.within_range(timestamps.utc_time_sql('r."time"', mapping.time_notation))
    meta = timestamps.meta_with_unreadable("r.meta", 'r."time"', f"({time_sql})")
    unchanged_names = ("type", "version", "id", "correlation_id", "causation_id", "data")
    stream = "r.stream" if mapping.has_field("stream") else "events.stream"
    connection.execute(
        f"UPDATE events SET time = {time_sql}, meta = {meta}, stream = {stream},"
        " revision = try_cast(r.revision AS BIGINT), line = -line,"
        ' source_position = r."offset", '
        + ", ".join(f"{name} = r.{name}" for name in unchanged_names)
        + ' FROM repaired AS r WHERE events."offset" = r.position'
    )
    connection.unregister("repaired")
