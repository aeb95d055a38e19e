"""Forks: where they branch, what is edited on them, and what their folds stand on."""

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
"""Forks. `offset` and `inserted` are the position at which one branches: `900+1` is 900 and 1."""

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
"""What is otherwise on a fork; see `storage.timelines.edits`."""

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
"""Of a fold on a fork, what it has in common with the fold on its parent, which is that of the
projection `base`: all before the place `since`, and what concerns no document that is `touched`,
unless `everything` may be otherwise. So `history` and the like hold what differs only."""

TOUCHED = TableSchema(
    "touched",
    (("projection", "INTEGER"), ("timeline", "VARCHAR"), ("key", "VARCHAR")),
    values=emptied("key"),
    without_values=frozenset(("projection", "timeline")),
)
"""Documents that were folded again on a fork."""
