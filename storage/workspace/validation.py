"""What keeps a database from being a workspace of ours: whatever is in it beside our tables and macros."""

import duckdb

from storage.workspace import macros, schema


def find_foreign_object(connection: duckdb.DuckDBPyConnection) -> str | None:
    """What keeps this database from being a workspace of ours, or None where nothing does.

    A stranger's workspace could define a view in a table's place, or a macro called `count` that
    every later query would run. So nothing but our tables, column for column, and our macros, word
    for word, may be in it. The questions here name the system catalog in full and use no operator,
    as both can be shadowed.
    """
    for kind, catalog, column, condition in _FORBIDDEN_OBJECTS:
        rows = connection.execute(f"SELECT {column} FROM system.main.{catalog}() {condition}")
        strangers = [name for (name,) in rows.fetchall() if (kind, name) != ("schema", "main")]
        if strangers:
            return f"it holds the {kind} {strangers[0]}, which is none of refold's"
    columns = connection.execute(
        "SELECT table_name, column_index, column_name, data_type, column_default"
        " FROM system.main.duckdb_columns() WHERE NOT internal"
    ).fetchall()
    found: dict[str, list[tuple[str, str]]] = {}
    for table, _, column, kind, default in sorted(columns, key=lambda row: row[:2]):
        if default is not None:
            return f"the column {table}.{column} has a default, which is none of refold's"
        found.setdefault(table, []).append((column, kind))
    for expected in schema.TABLES:
        if expected.name not in found:
            return f"the table {expected.name} is missing"
        if tuple(found.pop(expected.name)) != expected.columns:
            return f"the table {expected.name} has other columns than refold writes"
    if found:
        return f"it holds the table {next(iter(found))}, which is none of refold's"
    return macros.describe_macro_difference(connection, schema.create_schema)


def find_object_besides_tables(connection: duckdb.DuckDBPyConnection) -> str | None:
    """What is in a database beside tables and macros, or makes values up in a table."""
    for kind, catalog, column, condition in _FORBIDDEN_OBJECTS:
        rows = connection.execute(f"SELECT {column} FROM system.main.{catalog}() {condition}")
        strangers = [name for (name,) in rows.fetchall() if (kind, name) != ("schema", "main")]
        if strangers:
            return f"it holds the {kind} {strangers[0]}, which is none of refold's"
    rows = connection.execute(
        "SELECT table_name, column_name, column_default"
        " FROM system.main.duckdb_columns() WHERE NOT internal"
    )
    for table, column, default in rows.fetchall():
        if default is not None:
            return f"the column {table}.{column} has a default, which is none of refold's"
    return None


def read_table_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[str, str]]]:
    """The columns of every table in their order, as (name, DuckDB type)."""
    rows = connection.execute(
        "SELECT table_name, column_index, column_name, data_type"
        " FROM system.main.duckdb_columns() WHERE NOT internal"
    ).fetchall()
    found: dict[str, list[tuple[str, str]]] = {}
    for table, _, column, kind in sorted(rows):
        found.setdefault(table, []).append((column, kind))
    return found


_FORBIDDEN_OBJECTS = (
    ("view", "duckdb_views", "view_name", "WHERE NOT internal"),
    ("type", "duckdb_types", "type_name", "WHERE NOT internal"),
    ("schema", "duckdb_schemas", "schema_name", "WHERE NOT internal"),
    ("sequence", "duckdb_sequences", "sequence_name", ""),
    ("index", "duckdb_indexes", "index_name", ""),
    ("constraint", "duckdb_constraints", "constraint_name", ""),
    ("trigger", "duckdb_triggers", "trigger_name", ""),
)
