"""The log itself: the file, what it came from, its events, and what could not be read."""

from storage.workspace.schema.table import TableSchema, cleared, counted

WORKSPACE = TableSchema(
    "workspace",
    (("name", "VARCHAR"), ("value", "VARCHAR")),
    values=counted("value"),
    without_values=frozenset(("name",)),
)
"""Facts about the file itself, a JSON value each: format_version, mapping, types of columns."""

SOURCES = TableSchema(
    "sources",
    (
        ("source", "INTEGER"),
        ("path", "VARCHAR"),
        ("format", "VARCHAR"),
        ("taken", "BIGINT"),
        ("size", "BIGINT"),
        ("modified_ns", "BIGINT"),
        ("head", "VARCHAR"),
        ("tail", "VARCHAR"),
        ("lines", "BIGINT"),
        ("first_offset", "BIGINT"),
        ("events", "BIGINT"),
        ("partial", "BOOLEAN"),
    ),
    values=counted("path", "tail"),
    without_values=frozenset(
        (
            "source",
            "format",
            "taken",
            "size",
            "modified_ns",
            "head",
            "lines",
            "first_offset",
            "events",
            "partial",
        )
    ),
)
"""The files the log came from, with what is needed to see whether they have changed since."""

EVENT_COLUMNS = (
    ("time", "TIMESTAMP WITH TIME ZONE"),
    ("stream", "VARCHAR"),
    ("revision", "BIGINT"),
    ("type", "VARCHAR"),
    ("version", "VARCHAR"),
    ("id", "VARCHAR"),
    ("correlation_id", "VARCHAR"),
    ("causation_id", "VARCHAR"),
    ("data", "VARCHAR"),
    ("meta", "VARCHAR"),
)
"""What an event says, wherever it is kept."""
EVENT_VALUES = tuple(name for name, _ in EVENT_COLUMNS if name != "time")
"""Those of its fields that can hold a value to be removed: an event keeps its time when it is removed."""

EVENTS = TableSchema(
    "events",
    (
        ("offset", "BIGINT"),
        *EVENT_COLUMNS,
        ("source", "INTEGER"),
        ("line", "BIGINT"),
        ("source_position", "VARCHAR"),
    ),
    values=counted(*EVENT_VALUES, "source_position"),
    without_values=frozenset(("offset", "time", "source", "line")),
    id_columns=frozenset(("id", "correlation_id", "causation_id", "source_position")),
)

REJECTS = TableSchema(
    "rejects",
    (("source", "INTEGER"), ("line", "BIGINT"), ("reason", "VARCHAR"), ("text", "VARCHAR")),
    values=cleared("reason", "text"),
    without_values=frozenset(("source", "line")),
)
