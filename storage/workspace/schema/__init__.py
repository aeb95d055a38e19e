"""The tables of a workspace: the single definition of their names, columns and meaning.

`docs/workspace.md` documents them for people who open the file with another DuckDB 2 client; a test
checks that both agree. Offsets are 0-based, dense and total. Times are UTC.
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
"""The format version in every workspace. refold refuses a file with a newer version.

2: invariants, bookmarks, watches, macros; ids are uncompressed.
3: changes are numbered, and states compressed with zstd.
4: tables `printed` and `upcasts`. 5: folds have a first event.
6: large documents are in parts. 7: recordings of calls, and the decisions of folds. 8: timelines.
9: printed text and reads have the document's key. 10: columns for numbers of states."""

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
"""Tables with results of folds, by projection and timeline."""


def create_schema(connection: duckdb.DuckDBPyConnection) -> None:
    """Create every table and every macro in an empty workspace."""
    for table in TABLES:
        connection.execute(table.ddl)
    macros.create_macros(connection)
