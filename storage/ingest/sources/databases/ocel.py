"""OCEL 2.0 in SQLite: a table for each type of event, which one view puts together as the JSON form has it.

Source: the OCEL 2.0 specification, its relational schema.
"""

import sqlite3
from collections.abc import Iterator

from storage.ingest.sources.databases.database import ColumnTypes, column_reference
from storage.quoting import quote_identifier, quote_literal

VIEW_NAME = "ocel_events"
VIEW_COLUMNS: ColumnTypes = {
    **dict.fromkeys(("id", "type", "time"), "TEXT"),
    **dict.fromkeys(("attributes", "relationships"), "JSON"),
}
_REQUIRED_TABLES = {"event", "event_map_type", "event_object"}
_STANDARD_COLUMNS = ("ocel_id", "ocel_time")


def install_view(connection: sqlite3.Connection) -> bool:
    """Put the view on a connection, where the file is such a log; nothing is written for it."""
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    table_names = {name for (name,) in names}
    if not table_names >= _REQUIRED_TABLES or VIEW_NAME in table_names:
        return False
    of_types = " UNION ALL ".join(_event_type_queries(connection, table_names))
    if not of_types:
        return False
    related = (
        "SELECT ocel_event_id, json_group_array(json_object('objectId', ocel_object_id,"
        " 'qualifier', ocel_qualifier)) AS relationships FROM event_object GROUP BY ocel_event_id"
    )
    connection.execute(
        f"CREATE TEMP VIEW {VIEW_NAME} AS SELECT e.ocel_id AS id, e.ocel_type AS type, t.time AS time,"
        " t.attributes AS attributes, coalesce(r.relationships, '[]') AS relationships"
        f" FROM event AS e JOIN ({of_types}) AS t ON t.ocel_id = e.ocel_id"
        f" LEFT JOIN ({related}) AS r ON r.ocel_event_id = e.ocel_id"
    )
    return True


def _event_type_queries(connection: sqlite3.Connection, table_names: set[str]) -> Iterator[str]:
    """For each type a query with the attributes that its events have."""
    for (name,) in connection.execute("SELECT DISTINCT ocel_type_map FROM event_map_type"):
        table = f"event_{name}"
        if table not in table_names:
            continue
        described = connection.execute("SELECT name FROM pragma_table_info(?)", [table]).fetchall()
        own = [column for (column,) in described if column not in _STANDARD_COLUMNS]
        pairs = ", ".join(
            f"json_object('name', {quote_literal(c)}, 'value', {column_reference('a', c)})"
            for c in own
        )
        yield (
            f"SELECT a.ocel_id AS ocel_id, a.ocel_time AS time, json_array({pairs}) AS attributes"
            f" FROM {quote_identifier(table)} AS a"
        )
