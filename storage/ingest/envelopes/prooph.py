"""Prooph: rows of an event stream's table; `metadata` names the aggregate. Source: its PDO strategies."""

from storage.ingest.envelopes.envelope import TOTAL_ORDER, Envelope, StoreLayout, path_value

PROOPH = Envelope(
    name="prooph",
    required_members=("no", "event_id", "event_name", "payload"),
    fields={
        "offset": path_value("no"),
        "time": path_value("created_at"),
        "stream": path_value("metadata", "_aggregate_id"),
        "revision": path_value("metadata", "_aggregate_version"),
        "type": path_value("event_name"),
        "id": path_value("event_id"),
        "causation_id": path_value("metadata", "_causation_id"),
        "data": path_value("payload"),
        "meta": path_value("metadata"),
    },
    order_description=TOTAL_ORDER,
    store_layout=StoreLayout("event_streams", ("no",)),
)
