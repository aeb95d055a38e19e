"""Prooph: rows of an event stream's table; the aggregate is in the metadata. Source: its PDO strategies."""

from storage.ingest.envelopes.envelope import TOTAL, Envelope, Stored, at

PROOPH = Envelope(
    name="prooph",
    requires=("no", "event_id", "event_name", "payload"),
    fields={
        "offset": at("no"),
        "time": at("created_at"),
        "stream": at("metadata", "_aggregate_id"),
        "revision": at("metadata", "_aggregate_version"),
        "type": at("event_name"),
        "id": at("event_id"),
        "causation_id": at("metadata", "_causation_id"),
        "data": at("payload"),
        "meta": at("metadata"),
    },
    order=TOTAL,
    stored=Stored("event_streams", ("no",)),
)
