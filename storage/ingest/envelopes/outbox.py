"""Outbox tables, as Debezium's outbox router wants them. Source: its documentation."""

from storage.ingest.envelopes.envelope import BY_STREAM, REST, Envelope, Stored, at, first

OUTBOX = Envelope(
    name="outbox",
    requires=("aggregatetype", "aggregateid", "type", "payload"),
    fields={
        "offset": first(at("sequence"), at("seq"), at("position")),
        "time": first(at("timestamp"), at("created_at"), at("occurred_at"), at("created_on")),
        "stream": at("aggregateid"),
        "type": at("type"),
        "version": at("version"),
        "id": at("id"),
        "data": at("payload"),
        "meta": REST,
    },
    order=BY_STREAM,
    stored=Stored("outbox", ("sequence", "seq", "position", "created_at", "timestamp", "id")),
)
