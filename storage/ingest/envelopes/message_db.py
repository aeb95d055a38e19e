"""Message DB: rows of `messages` in PostgreSQL; times are UTC without a zone. Source: its schema."""

from storage.ingest.envelopes.envelope import TOTAL, Envelope, Stored, at

MESSAGE_DB = Envelope(
    name="message-db",
    requires=("global_position", "position", "stream_name", "type"),
    fields={
        "offset": at("global_position"),
        "time": at("time"),
        "stream": at("stream_name"),
        "revision": at("position"),
        "type": at("type"),
        "id": at("id"),
        "correlation_id": at("metadata", "correlationStreamName"),
        "causation_id": at("metadata", "causationMessageGlobalPosition"),
        "data": at("data"),
        "meta": at("metadata"),
    },
    order=TOTAL,
    stored=Stored("messages", ("global_position",)),
)
