"""Rows that were inserted as they stood, because no set-based parser could read them.

Each is looked at on its own: repaired in place, or made a reject and taken out. Offsets are closed
up behind what was taken out, so that they stay dense.
"""

from collections.abc import Mapping

import duckdb
import pyarrow as pa

from storage.ingest.formats import Format, Reading, UnfitError
from storage.ingest.io import timestamps
from storage.ingest.mapping import FIELDS, FieldMapping
from storage.ingest.payload_decoders import Decoder
from storage.ingest.redaction import Redaction

_AT_ONCE = 10_000
_KEPT_TEXT = 1000
"""Characters of a rejected line that are kept to show it."""


def at_leftovers(
    connection: duckdb.DuckDBPyConnection,
    form: Format,
    mapping: FieldMapping,
    reading: Reading,
    *,
    first_offset: int,
    decoders: Mapping[str, Decoder],
    redaction: Redaction,
) -> int:
    """Look at every row with a negative line from `first_offset` on; the number taken out."""
    out: list[int] = []
    next_offset = first_offset
    while rows := connection.execute(
        'SELECT "offset", -line, data FROM events WHERE line < 0 AND "offset" >= ?'
        ' ORDER BY "offset" LIMIT ?',
        [next_offset, _AT_ONCE],
    ).fetchall():
        next_offset = rows[-1][0] + 1
        repaired = []
        for offset, line, raw in rows:
            text = redaction.uncovered(raw) if redaction else raw
            fields = _looked_at(form, mapping, reading, line, text)
            if fields is None:
                out.append(offset)
            else:
                fields |= {name: decode(fields.get(name)) for name, decode in decoders.items()}
                repaired.append({**redaction.row(fields), "position": offset})
        _repair(connection, mapping, repaired)
    if out:
        gone = pa.table({"position": pa.array(out, pa.int64())})
        connection.register("gone", gone)
        connection.execute('DELETE FROM events WHERE "offset" IN (SELECT position FROM gone)')
        connection.unregister("gone")
        shifts = {"after": out, "shift": list(range(1, len(out) + 1))}
        connection.register("shifts", pa.table(shifts))
        connection.execute(
            'UPDATE events SET "offset" = closed.now FROM (SELECT "offset" AS was,'
            ' "offset" - shift AS now FROM events ASOF JOIN shifts ON "offset" > after) AS closed'
            ' WHERE "offset" = was'
        )
        connection.unregister("shifts")
    return len(out)


def _looked_at(
    form: Format, mapping: FieldMapping, reading: Reading, line: int, raw: str
) -> dict[str, str | None] | None:
    try:
        return form.second_look(raw, mapping)
    except UnfitError as error:
        reading.reject(line, str(error), raw[:_KEPT_TEXT].rstrip("\r\n"), len(raw.encode()))
        return None


def _repair(
    connection: duckdb.DuckDBPyConnection,
    mapping: FieldMapping,
    repaired: list[dict[str, str | int | None]],
) -> None:
    if not repaired:
        return
    fields = [(name, pa.string()) for name in FIELDS]
    table = pa.Table.from_pylist(repaired, schema=pa.schema([*fields, ("position", pa.int64())]))
    connection.register("repaired", table)
    moment = timestamps.within_range(timestamps.read_as_utc('r."time"', mapping.time_notation))
    meta = timestamps.meta_with_unreadable("r.meta", 'r."time"', f"({moment})")
    same = ("type", "version", "id", "correlation_id", "causation_id", "data")
    stream = "r.stream" if mapping.has("stream") else "events.stream"
    connection.execute(
        f"UPDATE events SET time = {moment}, meta = {meta}, stream = {stream},"
        " revision = try_cast(r.revision AS BIGINT), line = -line,"
        ' source_position = r."offset", '
        + ", ".join(f"{name} = r.{name}" for name in same)
        + ' FROM repaired AS r WHERE events."offset" = r.position'
    )
    connection.unregister("repaired")
