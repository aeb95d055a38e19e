"""Rows of the tables `forked` and `touched`: which fold on the parent a fork's fold builds on."""

from collections.abc import Collection
from dataclasses import dataclass

import duckdb

from storage.coordinates.fold_scope import FoldScope
from storage.folds.key_selection import KeySelection


@dataclass(frozen=True)
class ForkBase:
    """The fold on the parent that a fork's fold builds on, and how far the two may differ."""

    base_number: int
    """The projection whose fold on the parent is reused."""
    since_position: int
    """The first position on the fork at which a state may differ from the parent's."""
    affects_all_documents: bool
    """Whether every document may differ from there on; false: only the refolded ones."""
    refolded_key_count: int
    next_change: int
    """The number after the last change of the fold and of the folds that it builds on."""
    births_json: str | None
    """The documents that are created at another position or never, as JSON; None if these are too
    many to list."""


def read_fork_base(connection: duckdb.DuckDBPyConnection, scope: FoldScope) -> ForkBase | None:
    """Return what a fold builds on; None if it was folded from its events alone."""
    rows = connection.execute(
        "SELECT base, since, everything, keys, next_change, births FROM forked"
        f" WHERE {scope.condition}"
    ).fetchall()
    return ForkBase(*rows[0]) if rows else None


def write_fork_base(
    connection: duckdb.DuckDBPyConnection,
    scope: FoldScope,
    base: ForkBase,
    refolded_keys: Collection[str],
) -> None:
    """Link a fork's fold to the fold on its parent; from then on readers see both as one."""
    KeySelection(refolded_keys).register(connection)
    connection.execute(f"INSERT INTO touched SELECT {scope.columns_sql}, key FROM wanted")
    connection.unregister("wanted")
    connection.execute(
        f"INSERT INTO forked SELECT {scope.columns_sql}, ?, ?, ?, ?, ?, ?",
        [
            *(base.base_number, base.since_position, base.affects_all_documents),
            *(base.refolded_key_count, base.next_change, base.births_json),
        ],
    )


def refolded_keys_sql(scope: FoldScope) -> str:
    """Return SQL for the keys of the documents that a fork's fold folded again."""
    return f"SELECT key FROM touched WHERE {scope.condition}"
