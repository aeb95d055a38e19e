"""Axon: `DomainEventEntry` of Axon 3 and 4, `AggregateEventEntry` of Axon 5. Source: Axon's JPA entities."""

from storage.ingest.envelopes.envelope import TOTAL, Envelope, Stored, at

AXON = Envelope(
    name="axon",
    requires=("aggregateIdentifier", "sequenceNumber", "payloadType", "payload"),
    fields={
        "offset": at("globalIndex"),
        "time": at("timeStamp"),
        "stream": at("aggregateIdentifier"),
        "revision": at("sequenceNumber"),
        # `type` is the aggregate's.
        "type": at("payloadType"),
        "version": at("payloadRevision"),
        "id": at("eventIdentifier"),
        "correlation_id": at("metaData", "correlationId"),
        "causation_id": at("metaData", "traceId"),
        "data": at("payload"),
        "meta": at("metaData"),
    },
    order=TOTAL,
    stored=Stored("domain_event_entry", ("global_index",)),
)

AXON_5 = Envelope(
    name="axon",
    requires=("aggregateIdentifier", "aggregateSequenceNumber", "type", "payload"),
    fields={
        "offset": at("globalIndex"),
        "time": at("timestamp"),
        "stream": at("aggregateIdentifier"),
        "revision": at("aggregateSequenceNumber"),
        "type": at("type"),
        "version": at("version"),
        "id": at("identifier"),
        "correlation_id": at("metadata", "correlationId"),
        "causation_id": at("metadata", "causationId"),
        "data": at("payload"),
        "meta": at("metadata"),
    },
    order=TOTAL,
    stored=Stored("aggregate_event_entry", ("global_index",)),
)
