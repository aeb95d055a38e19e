"""Sort loaded events by a field, and number the events of streams that have no revisions."""

import duckdb

from storage.errors import SourceError
from storage.ingest.mapping import FIELDS, FieldMapping
from storage.workspace import schema


def sort_events(
    connection: duckdb.DuckDBPyConnection, field_name: str, mapping: FieldMapping, first_offset: int
) -> None:
    """Sort the events from `first_offset` on by a field; equal values keep the order of lines.

    Raises `SourceError` if no column is mapped to the field.
    """
    if field_name not in FIELDS or not mapping.has_field(field_name):
        raise SourceError(
            f"The log can't be ordered by {field_name}: no column is mapped to it. Mapped fields:"
            f" {', '.join(f for f in FIELDS if mapping.has_field(f))}."
        )
    column = "source_position" if field_name == "offset" else f'"{field_name}"'
    key = column if field_name == "time" else f"try_cast({column} AS DECIMAL(38, 9)), {column}"
    if field_name == "offset":  # may be a partition and an offset, such as 2:17
        parts = f"string_split({column}, ':')"
        key = f"list_transform({parts}, lambda part: try_cast(part AS DECIMAL(38, 9))), {column}"
    columns = ", ".join(f'"{name}"' for name, _ in schema.EVENTS.columns[1:])
    connection.execute(
        f'CREATE TEMP TABLE ordered AS SELECT row_number() OVER (ORDER BY {key}, "offset")'
        f' - 1 + {first_offset}, {columns} FROM events WHERE "offset" >= {first_offset} ORDER'
        f' BY {key}, "offset"'
    )
    connection.execute('DELETE FROM events WHERE "offset" >= ?', [first_offset])
    connection.execute("INSERT INTO events SELECT * FROM ordered")
    connection.execute("DROP TABLE ordered")


def number_revisions(connection: duckdb.DuckDBPyConnection, first_offset: int) -> None:
    """Set each event's revision to its index in its stream, from 0, in a log without revisions."""
    connection.execute(
        'UPDATE events SET revision = numbered.place FROM (SELECT "offset" AS at,'
        ' row_number() OVER (PARTITION BY stream ORDER BY "offset") - 1 AS place FROM events)'
        ' AS numbered WHERE events."offset" = numbered.at AND events."offset" >= ?',
        [first_offset],
    )
