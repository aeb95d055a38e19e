"""Commanded's EventStore: `events`, joined with `stream_events` for stream and order.

Source: its migrations. `events` alone has no order. The rows of `stream_events` with `stream_id` 0 give it:
their `stream_version` is the offset and their `original_stream_version` the revision.
"""

from storage.ingest.envelopes.envelope import (
    ORDER_BY_TIME,
    TOTAL_ORDER,
    Envelope,
    StoreLayout,
    first_present,
    path_value,
)

_FIELDS = {
    "time": path_value("created_at"),
    "type": path_value("event_type"),
    "id": path_value("event_id"),
    "correlation_id": path_value("correlation_id"),
    "causation_id": path_value("causation_id"),
    "data": path_value("data"),
    "meta": path_value("metadata"),
}
COMMANDED = Envelope(
    name="commanded",
    required_members=("event_id", "event_type", "original_stream_id", "original_stream_version"),
    fields={
        **_FIELDS,
        "offset": path_value("stream_version"),
        "stream": first_present(path_value("stream_uuid"), path_value("original_stream_id")),
        "revision": path_value("original_stream_version"),
    },
    order_description=TOTAL_ORDER,
)
COMMANDED_EVENTS = Envelope(
    name="commanded",
    required_members=(
        "event_id",
        "event_type",
        "causation_id",
        "correlation_id",
        "data",
        "created_at",
    ),
    fields=_FIELDS,
    order_description=ORDER_BY_TIME,
    matches_values=lambda record: not {"stream", "streamid", "validat"} & set(record),
    store_layout=StoreLayout(
        "events",
        ("stream_version",),
        joined_tables=("stream_events", "streams"),
        join_sql="JOIN {0} a ON a.event_id = e.event_id AND a.stream_id = 0"
        " LEFT JOIN {1} s ON s.stream_id = a.original_stream_id",
        joined_columns=(
            ("a", "stream_version"),
            ("a", "original_stream_id"),
            ("a", "original_stream_version"),
            ("s", "stream_uuid"),
        ),
    ),
)
