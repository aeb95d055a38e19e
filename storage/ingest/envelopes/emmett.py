"""Emmett: rows of `emt_messages`. Source: its PostgreSQL and SQLite schemas."""

from storage.ingest.envelopes.envelope import TOTAL, Envelope, Stored, at, first

EMMETT = Envelope(
    name="emmett",
    requires=("stream_position", "stream_id", "message_type", "message_data"),
    fields={
        "offset": at("global_position"),
        "time": at("created"),
        "stream": at("stream_id"),
        "revision": at("stream_position"),
        "type": at("message_type"),
        "version": at("message_schema_version"),
        "id": at("message_id"),
        "correlation_id": at("message_metadata", "correlationId"),
        "causation_id": at("message_metadata", "causationId"),
        # `message_data` holds the data alone, or the whole message.
        "data": first(at("message_data", "data"), at("message_data")),
        "meta": at("message_metadata"),
    },
    order=TOTAL,
    stored=Stored("emt_messages", ("transaction_id", "global_position")),
)
