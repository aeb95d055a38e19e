"""Outbox tables in the layout that Debezium's outbox router expects. Source: its documentation."""

from storage.ingest.envelopes.envelope import (
    ORDER_BY_STREAM,
    REMAINING,
    Envelope,
    StoreLayout,
    first_present,
    path_value,
)

OUTBOX = Envelope(
    name="outbox",
    required_members=("aggregatetype", "aggregateid", "type", "payload"),
    fields={
        "offset": first_present(path_value("sequence"), path_value("seq"), path_value("position")),
        "time": first_present(
            path_value("timestamp"),
            path_value("created_at"),
            path_value("occurred_at"),
            path_value("created_on"),
        ),
        "stream": path_value("aggregateid"),
        "type": path_value("type"),
        "version": path_value("version"),
        "id": path_value("id"),
        "data": path_value("payload"),
        "meta": REMAINING,
    },
    order_description=ORDER_BY_STREAM,
    store_layout=StoreLayout(
        "outbox", ("sequence", "seq", "position", "created_at", "timestamp", "id")
    ),
)
