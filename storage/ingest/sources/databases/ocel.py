"""OCEL 2.0 logs in SQLite: a view joins the tables of all event types into the shape of OCEL's JSON format.

Source: the relational schema in the OCEL 2.0 specification.
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
    """Create the view as a temporary one if the file is an OCEL log, and return whether it is."""
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
    """Yield a query for each event type, with the attributes of its events."""
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
