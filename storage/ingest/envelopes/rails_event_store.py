"""Rails Event Store: `event_store_events`, with its streams where they are joined. Source: its migrations.

It has two times: `valid_at`, where it is set, is when the event counts, `created_at` when it was written.
"""

from storage.ingest.envelopes.envelope import TOTAL, Envelope, Stored, at, first

RAILS_EVENT_STORE = Envelope(
    name="rails-event-store",
    requires=("event_id", "event_type", "metadata", "data", "created_at", "valid_at"),
    fields={
        "offset": at("id"),
        "time": first(at("valid_at"), at("created_at")),
        "stream": at("stream"),
        "revision": at("position"),
        "type": at("event_type"),
        "id": at("event_id"),
        "correlation_id": at("metadata", "correlation_id"),
        "causation_id": at("metadata", "causation_id"),
        "data": at("data"),
        "meta": at("metadata"),
    },
    order=TOTAL,
    stored=Stored(
        "event_store_events",
        ("id",),
        beside=("event_store_events_in_streams",),
        # An event may be linked into several streams; the first is the one it was written to.
        join="LEFT JOIN {0} s ON s.id = (SELECT min(x.id) FROM {0} x WHERE x.event_id = e.event_id)",
        extra=(("s", "stream"), ("s", "position")),
    ),
)
