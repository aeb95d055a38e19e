"""Commanded's EventStore: `events`, joined with `stream_events` for their streams and their order.

Source: its migrations. `events` alone has no order; the join where `stream_id` is 0 gives it, and then
`stream_version` is the offset and `original_stream_version` the revision.
"""

from storage.ingest.envelopes.envelope import BY_TIME, TOTAL, Envelope, Stored, at, first

_FIELDS = {
    "time": at("created_at"),
    "type": at("event_type"),
    "id": at("event_id"),
    "correlation_id": at("correlation_id"),
    "causation_id": at("causation_id"),
    "data": at("data"),
    "meta": at("metadata"),
}
COMMANDED = Envelope(
    name="commanded",
    requires=("event_id", "event_type", "original_stream_id", "original_stream_version"),
    fields={
        **_FIELDS,
        "offset": at("stream_version"),
        "stream": first(at("stream_uuid"), at("original_stream_id")),
        "revision": at("original_stream_version"),
    },
    order=TOTAL,
)
COMMANDED_EVENTS = Envelope(
    name="commanded",
    requires=("event_id", "event_type", "causation_id", "correlation_id", "data", "created_at"),
    fields=_FIELDS,
    order=BY_TIME,
    looks=lambda record: not {"stream", "streamid", "validat"} & set(record),
    stored=Stored(
        "events",
        ("stream_version",),
        beside=("stream_events", "streams"),
        join="JOIN {0} a ON a.event_id = e.event_id AND a.stream_id = 0"
        " LEFT JOIN {1} s ON s.stream_id = a.original_stream_id",
        extra=(
            ("a", "stream_version"),
            ("a", "original_stream_id"),
            ("a", "original_stream_version"),
            ("s", "stream_uuid"),
        ),
    ),
)
