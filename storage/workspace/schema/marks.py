"""Tables for bookmarks and watches."""

from storage.workspace.schema.table import TableSchema, deleted

BOOKMARKS = TableSchema(
    "bookmarks",
    (
        ("bookmark", "INTEGER"),
        ("timeline", "VARCHAR"),
        ("offset", "BIGINT"),
        ("inserted", "BIGINT"),
        ("projection", "VARCHAR"),
        ("key", "VARCHAR"),
        ("path", "VARCHAR"),
        ("note", "VARCHAR"),
        ("created", "TIMESTAMP WITH TIME ZONE"),
    ),
    values=deleted("key", "path", "note"),
    without_values=frozenset(
        ("bookmark", "timeline", "offset", "inserted", "projection", "created")
    ),
)
"""Positions that a person marked. `projection` is a name without a version, because its code may change."""

WATCHES = TableSchema(
    "watches",
    (
        ("watch", "INTEGER"),
        ("over", "VARCHAR"),
        ("condition", "VARCHAR"),
        ("created", "TIMESTAMP WITH TIME ZONE"),
    ),
    values=deleted("condition"),
    without_values=frozenset(("watch", "over", "created")),
)
"""Conditions that a person saved; `over` is `states`, `events`, or `all` documents."""
