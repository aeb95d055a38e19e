"""Marten: rows of `mt_events` in PostgreSQL. Source: Marten's own schema, `EventsTable`."""

from storage.ingest.envelopes.envelope import REST, TOTAL, Envelope, Stored, at

MARTEN = Envelope(
    name="marten",
    requires=("seq_id", "stream_id", "version", "type", "mt_dotnet_type"),
    fields={
        "offset": at("seq_id"),
        "time": at("timestamp"),
        "stream": at("stream_id"),
        "revision": at("version"),
        "type": at("type"),
        "id": at("id"),
        "correlation_id": at("correlation_id"),
        "causation_id": at("causation_id"),
        "data": at("data"),
        "meta": REST,
    },
    order=TOTAL,
    skips=at("is_skipped"),
    stored=Stored("mt_events", ("seq_id",)),
)
