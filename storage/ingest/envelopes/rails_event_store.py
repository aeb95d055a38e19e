"""Rails Event Store: `event_store_events`, joined with its streams if possible. Source: its migrations.

An event has two times: `created_at` is when it was written, and `valid_at`, if set, is when it takes effect.
"""

from storage.ingest.envelopes.envelope import (
    TOTAL_ORDER,
    Envelope,
    StoreLayout,
    first_present,
    path_value,
)

RAILS_EVENT_STORE = Envelope(
    name="rails-event-store",
    required_members=("event_id", "event_type", "metadata", "data", "created_at", "valid_at"),
    fields={
        "offset": path_value("id"),
        "time": first_present(path_value("valid_at"), path_value("created_at")),
        "stream": path_value("stream"),
        "revision": path_value("position"),
        "type": path_value("event_type"),
        "id": path_value("event_id"),
        "correlation_id": path_value("metadata", "correlation_id"),
        "causation_id": path_value("metadata", "causation_id"),
        "data": path_value("data"),
        "meta": path_value("metadata"),
    },
    order_description=TOTAL_ORDER,
    store_layout=StoreLayout(
        "event_store_events",
        ("id",),
        joined_tables=("event_store_events_in_streams",),
        # An event may be linked to several streams; the first link is the stream it was written to.
        join_sql="LEFT JOIN {0} s ON s.id = (SELECT min(x.id) FROM {0} x WHERE x.event_id = e.event_id)",
        joined_columns=(("s", "stream"), ("s", "position")),
    ),
)
