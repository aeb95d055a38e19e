"""The macros of a workspace: named queries for people who open the file with a DuckDB client.

Macros are stored in the file, so a stranger's file could contain another macro of the same name. This
module defines each macro exactly as DuckDB prints it, so validation can compare the texts.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import duckdb

from storage.workspace import document_parts


@dataclass(frozen=True)
class Macro:
    """A macro of the workspace."""

    name: str
    parameters: tuple[str, ...]
    body: str
    """The query as DuckDB prints it. Columns are qualified with their table, parameters are not."""
    columns: tuple[str, ...]
    """The columns of a table macro; empty for a scalar macro."""

    @property
    def is_table(self) -> bool:
        return bool(self.columns)

    @property
    def signature(self) -> str:
        """The macro's name and parameters, such as `latest(projection, timeline := 'main')`."""
        return f"{self.name}({', '.join(self.parameters)}, {_TIMELINE} := 'main')"

    @property
    def ddl(self) -> str:
        table = "TABLE " if self.is_table else ""
        return f"CREATE MACRO {self.signature} AS {table}{self.body}"

    @property
    def catalog_row(self) -> tuple[Any, ...]:
        """The macro's row in `duckdb_functions()`."""
        kind = "table_macro" if self.is_table else "macro"
        names = [*self.parameters, _TIMELINE]
        return (self.name, "main", kind, names, [None] * len(names), None, self.body)


_TIMELINE = "timeline"
_OF_PROJECTION = (
    "(h.projection = projection_number(projection, timeline)) AND (h.timeline = timeline)"
)
_OF_KEY = (
    '(h.bucket = (md5_number(CAST("key" AS VARCHAR)) & 4294967295))'
    ' AND (h."key" = CAST("key" AS VARCHAR))'
)


def _documents_query(rows: str) -> str:
    """Return a query for the documents that exist after the last of these rows, with parts assembled."""
    # arg_max skips NULL, which is the state of a deleted document; a struct is never NULL.
    last = 'arg_max(struct_pack(s := h.state, p := h.in_parts), h."offset")'
    return (
        'SELECT d."key", d."offset", CASE  WHEN (d.final.p) THEN (w.state) ELSE d.final.s END'
        f' AS state FROM ((SELECT h."key", max(h."offset") AS "offset", {last} AS final'
        f' FROM history AS h WHERE {rows} GROUP BY h."key") AS d LEFT JOIN'
        f' ({document_parts.documents_sql(rows)}) AS w ON ((w."key" = d."key"))) WHERE (d.final.s IS NOT NULL)'
    )


PROJECTION_NUMBER = Macro(
    "projection_number",
    ("projection",),
    # The parameters have names of columns, so a subquery without tables reads them.
    '(WITH asked AS (SELECT projection AS "name", timeline AS timeline)'
    " SELECT COALESCE(max(found.number), \"error\"(concat('There is no projection ',"
    " any_value(asked.\"name\"), ' with a history on the timeline ', any_value(asked.timeline))))"
    " FROM (asked LEFT JOIN (SELECT p.projection AS number FROM projections AS p , asked AS a"
    ' WHERE ((((p."name" = a."name") AND (NOT p.superseded))'
    ' OR (concat(p."name", \'@\', substr(p.hash, 1, 4)) = a."name"))'
    " AND (p.projection = ANY(SELECT f.projection FROM folds AS f , asked AS a"
    " WHERE (f.timeline = a.timeline))))"
    " ORDER BY p.superseded, p.created DESC, p.projection DESC LIMIT 1) AS found ON (true)))",
    (),
)
"""The number of a projection by its name: the current one of `orders`, or `orders@3f2a`."""

STATE_AT = Macro(
    "state_at",
    ("projection", "position"),
    _documents_query(f'({_OF_PROJECTION} AND (h."offset" <= "position"))'),
    ("key", "offset", "state"),
)
"""The documents that exist at a position."""

LATEST = Macro(
    "latest",
    ("projection",),
    _documents_query(f"({_OF_PROJECTION})"),
    ("key", "offset", "state"),
)
"""The documents that exist at the end of the log."""

DOCUMENT_AT = Macro(
    "document_at",
    ("projection", "key", "position"),
    _documents_query(f'({_OF_PROJECTION} AND {_OF_KEY} AND (h."offset" <= "position"))'),
    ("key", "offset", "state"),
)
"""One document at a position."""

CHANGES = Macro(
    "changes",
    ("projection", "key"),
    'SELECT c."offset", e."time", e."type", CASE  WHEN (c.in_parts) THEN (p."before") ELSE'
    ' c."before" END AS "before", CASE  WHEN (c.in_parts) THEN (p."after") ELSE c."after" END'
    ' AS "after" FROM (((SELECT h."offset", h.change, h.in_parts,'
    ' lag(h.state) OVER (ORDER BY h."offset") AS "before", h.state AS "after"'
    f" FROM history AS h WHERE ({_OF_PROJECTION} AND {_OF_KEY})) AS c"
    f" LEFT JOIN ({document_parts.part_changes_sql(f'({_OF_PROJECTION} AND {_OF_KEY})')}) AS p"
    " ON ((p.change = c.change)))"
    ' LEFT JOIN events AS e ON ((e."offset" = c."offset"))) ORDER BY c."offset"',
    ("offset", "time", "type", "before", "after"),
)
"""Every change of one document; for a document in parts, the changed parts by JSON pointer."""

MACROS = (PROJECTION_NUMBER, STATE_AT, LATEST, DOCUMENT_AT, CHANGES)


def create_macros(connection: duckdb.DuckDBPyConnection) -> None:
    """Create every macro; the tables must exist."""
    for macro in MACROS:
        connection.execute(macro.ddl)


def describe_macro_difference(
    connection: duckdb.DuckDBPyConnection,
    create_schema: Callable[[duckdb.DuckDBPyConnection], None],
) -> str | None:
    """Return a clause about the first macro that isn't refold's, or None if all are.

    `create_schema` creates refold's tables and macros in an empty database. The queries here use no
    operator or function that a macro could override, and call a macro only after its text was compared.
    """
    actual = _read_catalog(connection)
    if actual == sorted((macro.catalog_row for macro in MACROS), key=repr) and all(
        macro.signature in _probe_signature(connection, macro) for macro in MACROS
    ):
        return None
    # Another version of DuckDB may print the same macros differently.
    with duckdb.connect() as reference:
        create_schema(reference)
        expected = _read_catalog(reference)
        if actual != expected:
            return _describe_first_difference(actual, expected)
        for macro in MACROS:
            if _probe_signature(connection, macro) != _probe_signature(reference, macro):
                return f"the macro {macro.name} has defaults that refold doesn't write"
    return None


def _read_catalog(connection: duckdb.DuckDBPyConnection) -> list[tuple[Any, ...]]:
    """Return the catalog rows of all macros that aren't built in."""
    rows = connection.execute(
        "SELECT function_name, schema_name, function_type, parameters, parameter_types,"
        " return_type, macro_definition FROM system.main.duckdb_functions() WHERE NOT internal"
    )
    return sorted(rows.fetchall(), key=repr)


def _probe_signature(connection: duckdb.DuckDBPyConnection, macro: Macro) -> str:
    """Return DuckDB's error for a call with too many arguments.

    It contains the signature with its defaults, which the catalog lacks. The macro doesn't run.
    """
    nulls = ", ".join(["NULL"] * (len(macro.parameters) + 2))
    call = f"{'FROM' if macro.is_table else 'SELECT'} main.{macro.name}({nulls})"
    try:
        connection.execute(call)
    except duckdb.BinderException as error:
        return str(error)
    return ""


def _describe_first_difference(
    actual: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]
) -> str:
    names = {macro.name for macro in MACROS}
    for row in actual:
        if row[0] not in names:
            return f"it contains the macro {row[0]}, which refold did not create"
        if row not in expected:
            return f"the macro {row[0]} differs from refold's"
    missing = next((row[0] for row in expected if row not in actual), None)
    if missing is None:
        return "it contains a macro twice"
    return f"the macro {missing} is missing"
