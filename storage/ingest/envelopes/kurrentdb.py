"""KurrentDB, once EventStoreDB: its Atom feed with bodies, its table `kdb.records`, Gaffer's fixtures.

Source: KurrentDB's AtomPub writer and its documentation of SQL and of Gaffer.
"""

from storage.ingest.envelopes.envelope import AS_WRITTEN, REST, TOTAL, Envelope, Stored, at, first

ATOM = Envelope(
    name="kurrentdb-atom",
    requires=("eventId", "eventType", "eventNumber", "streamId", "isJson"),
    fields={
        "offset": first(at("positionEventNumber"), at("eventNumber")),
        "time": at("updated"),
        "stream": at("streamId"),
        "revision": at("eventNumber"),
        "type": at("eventType"),
        "id": at("eventId"),
        "correlation_id": at("metaData", "$correlationId"),
        "causation_id": at("metaData", "$causationId"),
        "data": at("data"),
        "meta": at("metaData"),
    },
    order="total: the feed numbers its entries",
    newest_first=True,
)

RECORDS = Envelope(
    name="kurrentdb",
    requires=("log_position", "stream", "stream_revision", "schema_name", "record_id"),
    fields={
        "offset": at("log_position"),
        "time": at("created_at"),
        "stream": at("stream"),
        "revision": at("stream_revision"),
        "type": at("schema_name"),
        "id": at("record_id"),
        "correlation_id": at("metadata", "$correlationId"),
        "causation_id": at("metadata", "$causationId"),
        "data": at("data"),
        "meta": at("metadata"),
    },
    order=TOTAL,
    stored=Stored("records", ("log_position",)),
)

GAFFER = Envelope(
    name="gaffer",
    requires=("eventType", "streamId", "data"),
    fields={
        "stream": at("streamId"),
        "type": at("eventType"),
        "id": at("eventId"),
        "time": first(at("created"), at("createdAt"), at("timestamp")),
        "revision": first(at("eventNumber"), at("streamRevision")),
        "data": at("data"),
        "meta": first(at("metadata"), REST),
    },
    order=AS_WRITTEN,
    looks=lambda record: not {"eventattributes", "eventtime"} & set(record),
)
