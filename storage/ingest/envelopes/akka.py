"""Akka and Pekko JDBC: rows of `event_journal`; payloads are serialised bytes. Source: its schema."""

from storage.ingest.envelopes.envelope import (
    REMAINING,
    TOTAL_ORDER,
    Envelope,
    StoreLayout,
    first_present,
    path_value,
)

AKKA = Envelope(
    name="akka",
    required_members=("persistence_id", "sequence_number", "event_ser_id", "event_payload"),
    fields={
        "offset": path_value("ordering"),
        "time": path_value("write_timestamp"),
        "stream": path_value("persistence_id"),
        "revision": path_value("sequence_number"),
        "type": first_present(path_value("event_ser_manifest"), path_value("event_ser_id")),
        "data": path_value("event_payload"),
        "meta": REMAINING,
    },
    order_description=TOTAL_ORDER,
    skip_condition=path_value("deleted"),
    store_layout=StoreLayout("event_journal", ("ordering",)),
)
