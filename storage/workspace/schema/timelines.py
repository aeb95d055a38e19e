"""Tables for forks: where they branch, their edits, and how their folds differ from the parent's."""

from storage.workspace.schema.log import EVENT_COLUMNS, EVENT_VALUES
from storage.workspace.schema.table import TableSchema, cleared, counted, deleted, emptied

TIMELINES = TableSchema(
    "timelines",
    (
        ("timeline", "VARCHAR"),
        ("parent", "VARCHAR"),
        ("offset", "BIGINT"),
        ("inserted", "BIGINT"),
        ("note", "VARCHAR"),
        ("created", "TIMESTAMP WITH TIME ZONE"),
    ),
    values={**counted("timeline", "parent"), **cleared("note")},
    without_values=frozenset(("offset", "inserted", "created")),
)
"""Forks. `offset` and `inserted` are the position at which a fork branches: `900+1` is 900 and 1."""

EDITS = TableSchema(
    "edits",
    (
        ("timeline", "VARCHAR"),
        ("step", "BIGINT"),
        ("edit", "BIGINT"),
        ("undone", "BOOLEAN"),
        ("kind", "VARCHAR"),
        ("offset", "BIGINT"),
        ("inserted", "BIGINT"),
        ("after_offset", "BIGINT"),
        ("after_inserted", "BIGINT"),
        ("moved_offset", "BIGINT"),
        ("moved_inserted", "BIGINT"),
        ("said", "VARCHAR"),
        *EVENT_COLUMNS,
    ),
    values={**counted(*EVENT_VALUES), **deleted("said")},
    without_values=frozenset(
        (
            "timeline",
            "step",
            "edit",
            "undone",
            "kind",
            "offset",
            "inserted",
            "after_offset",
            "after_inserted",
            "moved_offset",
            "moved_inserted",
            "time",
        )
    ),
)
"""The edits of forks; see `storage.timelines.edits`."""

FORKED = TableSchema(
    "forked",
    (
        ("projection", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("base", "INTEGER"),
        ("since", "BIGINT"),
        ("everything", "BOOLEAN"),
        ("keys", "BIGINT"),
        ("next_change", "BIGINT"),
        ("births", "VARCHAR"),
    ),
    values=emptied("births"),
    without_values=frozenset(
        ("projection", "timeline", "base", "since", "everything", "keys", "next_change")
    ),
)
"""How a fold on a fork differs from the fold of the projection `base` on the parent.

Rows before the position `since` are the same. From there on only the documents in `touched` differ, or
all documents if `everything` is true. `history` and the other tables of a fork's fold therefore contain
only the rows that differ."""

TOUCHED = TableSchema(
    "touched",
    (("projection", "INTEGER"), ("timeline", "VARCHAR"), ("key", "VARCHAR")),
    values=emptied("key"),
    without_values=frozenset(("projection", "timeline")),
)
"""Documents that were folded again on a fork."""
