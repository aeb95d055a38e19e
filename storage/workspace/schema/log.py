"""Tables for the log: metadata of the file, sources, events and rejects."""

from storage.workspace.schema.table import TableSchema, cleared, counted

WORKSPACE = TableSchema(
    "workspace",
    (("name", "VARCHAR"), ("value", "VARCHAR")),
    values=counted("value"),
    without_values=frozenset(("name",)),
)
"""Metadata of the file, a JSON value for each name: format_version, mapping, types of columns."""

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
"""The sources of the log, with their fingerprints, which tell whether a source has changed."""

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
"""The fields of an event, in every table that stores events."""
EVENT_VALUES = tuple(name for name, _ in EVENT_COLUMNS if name != "time")
"""The fields that can contain a value to remove; a removed event keeps its time."""

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
