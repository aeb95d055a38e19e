"""Tables for recordings of calls to the outside."""

from storage.workspace.schema.table import TableSchema, deleted

CALLS = TableSchema(
    "calls",
    (
        ("call", "BIGINT"),
        ("projection", "VARCHAR"),
        ("timeline", "VARCHAR"),
        ("code", "VARCHAR"),
        ("offset", "BIGINT"),
        ("event_id", "VARCHAR"),
        ("key", "VARCHAR"),
        ("ordinal", "INTEGER"),
        ("occurrence", "INTEGER"),
        ("kind", "VARCHAR"),
        ("port", "VARCHAR"),
        ("operation", "VARCHAR"),
        ("fingerprint", "VARCHAR"),
        ("request", "VARCHAR"),
        ("outcome", "VARCHAR"),
        ("status", "INTEGER"),
        ("headers", "VARCHAR"),
        ("response", "VARCHAR"),
        ("body", "VARCHAR"),
        ("error", "VARCHAR"),
        ("attempts", "INTEGER"),
        ("time", "TIMESTAMP WITH TIME ZONE"),
        ("latency", "DOUBLE"),
        ("correlation_id", "VARCHAR"),
        ("idempotency_key", "VARCHAR"),
        ("origin", "VARCHAR"),
    ),
    values=deleted(
        "event_id",
        "key",
        "operation",
        "request",
        "headers",
        "response",
        "error",
        "correlation_id",
        "idempotency_key",
    ),
    without_values=frozenset(
        (
            "call",
            "projection",
            "timeline",
            "code",
            "offset",
            "ordinal",
            "occurrence",
            "kind",
            "port",
            "fingerprint",
            "outcome",
            "status",
            "body",
            "attempts",
            "time",
            "latency",
            "origin",
        )
    ),
)
"""Recordings: calls to the outside with their answers, redacted; see `gateway.recording_store`.

`projection` is the name of the projection that made the call, without its version, because its code may
change; NULL for an imported call. `offset` is NULL while the event that caused the call is unknown. A
small JSON answer is in `response`; any other is in `bodies`."""

BODIES = TableSchema(
    "bodies",
    (("body", "VARCHAR"), ("media", "VARCHAR"), ("text", "VARCHAR"), ("bytes", "BLOB")),
    values=deleted("media", "text", "bytes"),
    without_values=frozenset(("body",)),
)
"""Bodies of answers by the hash of their content, after content decoding; in `text` if they are text,
in `bytes` if not."""
