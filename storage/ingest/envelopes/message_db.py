"""Message DB: rows of `messages` in PostgreSQL; times are UTC without a zone. Source: its schema."""

from storage.ingest.envelopes.envelope import TOTAL_ORDER, Envelope, StoreLayout, path_value

MESSAGE_DB = Envelope(
    name="message-db",
    required_members=("global_position", "position", "stream_name", "type"),
    fields={
        "offset": path_value("global_position"),
        "time": path_value("time"),
        "stream": path_value("stream_name"),
        "revision": path_value("position"),
        "type": path_value("type"),
        "id": path_value("id"),
        "correlation_id": path_value("metadata", "correlationStreamName"),
        "causation_id": path_value("metadata", "causationMessageGlobalPosition"),
        "data": path_value("data"),
        "meta": path_value("metadata"),
    },
    order_description=TOTAL_ORDER,
    store_layout=StoreLayout("messages", ("global_position",)),
)
