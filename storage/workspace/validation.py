"""Checks that a database contains refold's tables and macros and nothing else."""

import duckdb

from storage.workspace import macros, schema


def find_foreign_object(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Return a clause about the first object that isn't refold's, or None if there is none.

    A stranger's workspace could contain a view instead of a table, or a macro called `count` that every
    later query would run. Therefore only refold's tables, column for column, and refold's macros, word
    for word, are allowed. The queries here use full catalog names and no operators, because a macro
    could shadow either.
    """
    for kind, catalog, column, condition in _FORBIDDEN_OBJECTS:
        rows = connection.execute(f"SELECT {column} FROM system.main.{catalog}() {condition}")
        strangers = [name for (name,) in rows.fetchall() if (kind, name) != ("schema", "main")]
        if strangers:
            return f"it contains the {kind} {strangers[0]}, which refold did not create"
    columns = connection.execute(
        "SELECT table_name, column_index, column_name, data_type, column_default"
        " FROM system.main.duckdb_columns() WHERE NOT internal"
    ).fetchall()
    found: dict[str, list[tuple[str, str]]] = {}
    for table, _, column, kind, default in sorted(columns, key=lambda row: row[:2]):
        if default is not None:
            return f"the column {table}.{column} has a default, which refold did not create"
        found.setdefault(table, []).append((column, kind))
    for expected in schema.TABLES:
        if expected.name not in found:
            return f"the table {expected.name} is missing"
        if tuple(found.pop(expected.name)) != expected.columns:
            return f"the table {expected.name} has columns that refold did not create"
    if found:
        return f"it contains the table {next(iter(found))}, which refold did not create"
    return macros.describe_macro_difference(connection, schema.create_schema)


def find_object_besides_tables(connection: duckdb.DuckDBPyConnection) -> str | None:
    """Return a clause about the first object besides tables and macros, or column default; None if none.

    For workspaces of older formats, whose tables and macros differ.
    """
    for kind, catalog, column, condition in _FORBIDDEN_OBJECTS:
        rows = connection.execute(f"SELECT {column} FROM system.main.{catalog}() {condition}")
        strangers = [name for (name,) in rows.fetchall() if (kind, name) != ("schema", "main")]
        if strangers:
            return f"it contains the {kind} {strangers[0]}, which refold did not create"
    rows = connection.execute(
        "SELECT table_name, column_name, column_default"
        " FROM system.main.duckdb_columns() WHERE NOT internal"
    )
    for table, column, default in rows.fetchall():
        if default is not None:
            return f"the column {table}.{column} has a default, which refold did not create"
    return None


def read_table_columns(connection: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[str, str]]]:
    """Return the columns of every table in their order, as (name, DuckDB type)."""
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
