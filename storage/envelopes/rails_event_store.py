"""Rails Event Store: `event_store_events`, with its streams where they are joined. Source: its migrations.

It has two times: `valid_at`, where it is set, is when the event counts, `created_at` when it was written.
"""

from storage.envelopes.envelope import TOTAL, Envelope, at, first

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
)
