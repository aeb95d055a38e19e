"""Marten: rows of `mt_events` in PostgreSQL. Source: Marten's own schema, `EventsTable`."""

from storage.ingest.envelopes.envelope import (
    REMAINING,
    TOTAL_ORDER,
    Envelope,
    StoreLayout,
    path_value,
)

MARTEN = Envelope(
    name="marten",
    required_members=("seq_id", "stream_id", "version", "type", "mt_dotnet_type"),
    fields={
        "offset": path_value("seq_id"),
        "time": path_value("timestamp"),
        "stream": path_value("stream_id"),
        "revision": path_value("version"),
        "type": path_value("type"),
        "id": path_value("id"),
        "correlation_id": path_value("correlation_id"),
        "causation_id": path_value("causation_id"),
        "data": path_value("data"),
        "meta": REMAINING,
    },
    order_description=TOTAL_ORDER,
    skip_condition=path_value("is_skipped"),
    store_layout=StoreLayout("mt_events", ("seq_id",)),
)
