"""Rows of the table `projections`: the projections of a workspace, by name and hash of their code.

When the code of a projection changes, it becomes another projection and supersedes the one before. Of
the superseded projections of one name, only one keeps its history: the one that was folded furthest,
or the latest of these.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from storage.workspace.workspace import Workspace


@dataclass(frozen=True)
class ProjectionRow:
    """A projection: its name, its code and its settings."""

    name: str
    code_hash: str
    reference: str
    python: str
    """The interpreter that runs it."""
    files: Mapping[str, str]
    """The hash of each file of its code."""
    invariants: Mapping[str, str | None]
    """The invariants that it declares: the condition of each name, or None if the invariant is a
    Python function."""
    settings_digest: str
    """The digest of its gateway settings; empty for the defaults."""


def register_projection(connection: duckdb.DuckDBPyConnection, row: ProjectionRow) -> int:
    """Make the projection the current one of its name, and return its number."""
    files, invariants = json.dumps(dict(row.files)), json.dumps(dict(row.invariants))
    known = find_projection_number(connection, row.name, row.code_hash)
    connection.execute(
        "UPDATE projections SET superseded = true WHERE name = ? AND hash <> ? AND reference = ?"
        " AND settings = ? AND NOT superseded",
        [row.name, row.code_hash, row.reference, row.settings_digest],
    )
    if known is not None:
        connection.execute(
            "UPDATE projections SET created = CASE WHEN superseded THEN now() ELSE created END,"
            " superseded = false, reference = ?, python = ?, files = ?, invariants = ?"
            " WHERE projection = ?",
            [row.reference, row.python, files, invariants, known],
        )
        return known
    ((number,),) = connection.execute(
        "SELECT coalesce(max(projection), 0) + 1 FROM projections"
    ).fetchall()
    connection.execute(
        "INSERT INTO projections VALUES (?, ?, ?, ?, ?, ?, ?, ?, now(), false)",
        [
            *(number, row.name, row.code_hash, row.reference, row.python),
            *(files, invariants, row.settings_digest),
        ],
    )
    return int(number)


def find_projection_number(
    connection: duckdb.DuckDBPyConnection, name: str, code_hash: str
) -> int | None:
    """Return the number of the projection with this code; None if the workspace doesn't know it."""
    rows = connection.execute(
        "SELECT projection FROM projections WHERE name = ? AND hash = ?", [name, code_hash]
    ).fetchall()
    return int(rows[0][0]) if rows else None


def find_evictable_projections(
    connection: duckdb.DuckDBPyConnection, projection_number: int
) -> list[int]:
    """Return the superseded projections of the same name and reference whose history can be deleted.

    One superseded projection, the one that was folded furthest, keeps its history.
    """
    rows = connection.execute(
        "SELECT old.projection FROM projections AS old JOIN projections AS new"
        " USING (name, reference, settings)"
        " JOIN folds ON folds.projection = old.projection"
        " WHERE new.projection = ? AND old.superseded GROUP BY old.projection, old.created"
        " ORDER BY max(folded) DESC, old.created DESC OFFSET 1",
        [projection_number],
    ).fetchall()
    return [number for (number,) in rows]


def read_python(workspace: Workspace, projection_number: int) -> str:
    """Return the interpreter of a projection; empty if the workspace doesn't know the projection."""
    with workspace.reading() as connection:
        rows = connection.execute(
            "SELECT python FROM projections WHERE projection = ?", [projection_number]
        ).fetchall()
    return str(rows[0][0]) if rows else ""
