"""The tables of a workspace: this package alone says which there are and what their columns mean.

`docs/workspace.md` documents them for people who open the file with another DuckDB 2 client;
a test holds the two together. Offsets are 0-based, dense and total. Times are UTC.
"""

import duckdb

from storage.workspace import macros
from storage.workspace.schema.calls import BODIES, CALLS
from storage.workspace.schema.folds import (
    DECISIONS,
    DOCUMENTS,
    FAILURES,
    FOLDS,
    HISTORY,
    NUMBER_COLUMNS,
    PARTS,
    PRINTED,
    PROJECTIONS,
    READS,
    ROUTES,
    TURNS,
    UPCASTS,
)
from storage.workspace.schema.log import EVENTS, REJECTS, SOURCES, WORKSPACE
from storage.workspace.schema.marks import BOOKMARKS, WATCHES
from storage.workspace.schema.table import OnRemoval, TableSchema
from storage.workspace.schema.timelines import EDITS, FORKED, TIMELINES, TOUCHED

__all__ = [
    "BODIES",
    "BOOKMARKS",
    "CALLS",
    "DECISIONS",
    "DOCUMENTS",
    "EDITS",
    "EVENTS",
    "FAILURES",
    "FOLDS",
    "FOLD_TABLES",
    "FORKED",
    "FORMAT_VERSION",
    "HISTORY",
    "NUMBER_COLUMNS",
    "PARTS",
    "PRINTED",
    "PROJECTIONS",
    "READS",
    "REJECTS",
    "ROUTES",
    "SOURCES",
    "TABLES",
    "TABLES_BY_NAME",
    "TIMELINES",
    "TOUCHED",
    "TURNS",
    "UPCASTS",
    "WATCHES",
    "WORKSPACE",
    "OnRemoval",
    "TableSchema",
    "create_schema",
]

FORMAT_VERSION = 10
"""Written into every workspace. A reader refuses what is newer than itself.

2: invariants, bookmarks, watches, macros; ids are kept uncompressed.
3: changes are numbered, and states packed with zstd.
4: tables `printed` and `upcasts`. 5: a fold says where it begins.
6: large documents are kept in parts. 7: calls to the outside, and how folds were answered. 8: timelines.
9: what was printed and read is told by document. 10: numbers are kept beside states."""

TABLES = (
    WORKSPACE,
    SOURCES,
    EVENTS,
    REJECTS,
    PROJECTIONS,
    FOLDS,
    DOCUMENTS,
    HISTORY,
    PARTS,
    ROUTES,
    FAILURES,
    TURNS,
    PRINTED,
    UPCASTS,
    CALLS,
    BODIES,
    DECISIONS,
    READS,
    TIMELINES,
    EDITS,
    FORKED,
    TOUCHED,
    BOOKMARKS,
    WATCHES,
)
TABLES_BY_NAME = {table.name: table for table in TABLES}
FOLD_TABLES = (
    *("folds", "forked", "touched", "documents", "history", "parts", "routes", "failures"),
    *("turns", "printed", "upcasts", "decisions", "reads"),
)
"""Those of what was folded, by projection and timeline."""


def create_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Create every table and every macro in an empty workspace."""
    for table in TABLES:
        connection.execute(table.ddl)
    macros.create_macros(connection)
