"""The log itself: the file, what it came from, its events, and what could not be read."""

from storage.workspace.schema.table import Table

WORKSPACE = Table("workspace", (("name", "VARCHAR"), ("value", "VARCHAR")))
"""Facts about the file itself, a JSON value each: format_version, mapping, types of columns."""

SOURCES = Table(
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
)
"""The files the log came from, with what is needed to see whether they have changed since."""

OF_EVENTS = (
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

EVENTS = Table(
    "events",
    (
        ("offset", "BIGINT"),
        *OF_EVENTS,
        ("source", "INTEGER"),
        ("line", "BIGINT"),
        ("source_position", "VARCHAR"),
    ),
    ids=frozenset(("id", "correlation_id", "causation_id", "source_position")),
)

REJECTS = Table(
    "rejects",
    (("source", "INTEGER"), ("line", "BIGINT"), ("reason", "VARCHAR"), ("text", "VARCHAR")),
)
