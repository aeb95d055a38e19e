"""Emmett: rows of `emt_messages`. Source: its PostgreSQL and SQLite schemas."""

from storage.ingest.envelopes.envelope import (
    TOTAL_ORDER,
    Envelope,
    StoreLayout,
    first_present,
    path_value,
)

EMMETT = Envelope(
    name="emmett",
    required_members=("stream_position", "stream_id", "message_type", "message_data"),
    fields={
        "offset": path_value("global_position"),
        "time": path_value("created"),
        "stream": path_value("stream_id"),
        "revision": path_value("stream_position"),
        "type": path_value("message_type"),
        "version": path_value("message_schema_version"),
        "id": path_value("message_id"),
        "correlation_id": path_value("message_metadata", "correlationId"),
        "causation_id": path_value("message_metadata", "causationId"),
        # `message_data` holds either the data alone or the whole message.
        "data": first_present(path_value("message_data", "data"), path_value("message_data")),
        "meta": path_value("message_metadata"),
    },
    order_description=TOTAL_ORDER,
    store_layout=StoreLayout("emt_messages", ("transaction_id", "global_position")),
)
