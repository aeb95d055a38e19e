"""Akka and Pekko JDBC: rows of `event_journal`; payloads are bytes of a serialiser. Source: its schema."""

from storage.ingest.envelopes.envelope import REST, TOTAL, Envelope, Stored, at, first

AKKA = Envelope(
    name="akka",
    requires=("persistence_id", "sequence_number", "event_ser_id", "event_payload"),
    fields={
        "offset": at("ordering"),
        "time": at("write_timestamp"),
        "stream": at("persistence_id"),
        "revision": at("sequence_number"),
        "type": first(at("event_ser_manifest"), at("event_ser_id")),
        "data": at("event_payload"),
        "meta": REST,
    },
    order=TOTAL,
    skips=at("deleted"),
    stored=Stored("event_journal", ("ordering",)),
)
