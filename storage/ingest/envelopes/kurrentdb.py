"""KurrentDB, formerly EventStoreDB: its Atom feed with bodies, its table `kdb.records`, Gaffer's fixtures.

Source: KurrentDB's AtomPub writer and its documentation of SQL and of Gaffer.
"""

from storage.ingest.envelopes.envelope import (
    RECORD_ORDER,
    REMAINING,
    TOTAL_ORDER,
    Envelope,
    StoreLayout,
    first_present,
    path_value,
)

ATOM = Envelope(
    name="kurrentdb-atom",
    required_members=("eventId", "eventType", "eventNumber", "streamId", "isJson"),
    fields={
        "offset": first_present(path_value("positionEventNumber"), path_value("eventNumber")),
        "time": path_value("updated"),
        "stream": path_value("streamId"),
        "revision": path_value("eventNumber"),
        "type": path_value("eventType"),
        "id": path_value("eventId"),
        "correlation_id": path_value("metaData", "$correlationId"),
        "causation_id": path_value("metaData", "$causationId"),
        "data": path_value("data"),
        "meta": path_value("metaData"),
    },
    order_description="total: the feed numbers its entries",
    is_newest_first=True,
)

KURRENTDB = Envelope(
    name="kurrentdb",
    required_members=("log_position", "stream", "stream_revision", "schema_name", "record_id"),
    fields={
        "offset": path_value("log_position"),
        "time": path_value("created_at"),
        "stream": path_value("stream"),
        "revision": path_value("stream_revision"),
        "type": path_value("schema_name"),
        "id": path_value("record_id"),
        "correlation_id": path_value("metadata", "$correlationId"),
        "causation_id": path_value("metadata", "$causationId"),
        "data": path_value("data"),
        "meta": path_value("metadata"),
    },
    order_description=TOTAL_ORDER,
    store_layout=StoreLayout("records", ("log_position",)),
)

GAFFER = Envelope(
    name="gaffer",
    required_members=("eventType", "streamId", "data"),
    fields={
        "stream": path_value("streamId"),
        "type": path_value("eventType"),
        "id": path_value("eventId"),
        "time": first_present(
            path_value("created"), path_value("createdAt"), path_value("timestamp")
        ),
        "revision": first_present(path_value("eventNumber"), path_value("streamRevision")),
        "data": path_value("data"),
        "meta": first_present(path_value("metadata"), REMAINING),
    },
    order_description=RECORD_ORDER,
    matches_values=lambda record: not {"eventattributes", "eventtime"} & set(record),
)
