"""Axon: `DomainEventEntry` of Axon 3 and 4, `AggregateEventEntry` of Axon 5. Source: Axon's JPA entities."""

from storage.ingest.envelopes.envelope import TOTAL_ORDER, Envelope, StoreLayout, path_value

AXON = Envelope(
    name="axon",
    required_members=("aggregateIdentifier", "sequenceNumber", "payloadType", "payload"),
    fields={
        "offset": path_value("globalIndex"),
        "time": path_value("timeStamp"),
        "stream": path_value("aggregateIdentifier"),
        "revision": path_value("sequenceNumber"),
        # The member `type` is the type of the aggregate, not of the event.
        "type": path_value("payloadType"),
        "version": path_value("payloadRevision"),
        "id": path_value("eventIdentifier"),
        "correlation_id": path_value("metaData", "correlationId"),
        "causation_id": path_value("metaData", "traceId"),
        "data": path_value("payload"),
        "meta": path_value("metaData"),
    },
    order_description=TOTAL_ORDER,
    store_layout=StoreLayout("domain_event_entry", ("global_index",)),
)

AXON_5 = Envelope(
    name="axon",
    required_members=("aggregateIdentifier", "aggregateSequenceNumber", "type", "payload"),
    fields={
        "offset": path_value("globalIndex"),
        "time": path_value("timestamp"),
        "stream": path_value("aggregateIdentifier"),
        "revision": path_value("aggregateSequenceNumber"),
        "type": path_value("type"),
        "version": path_value("version"),
        "id": path_value("identifier"),
        "correlation_id": path_value("metadata", "correlationId"),
        "causation_id": path_value("metadata", "causationId"),
        "data": path_value("payload"),
        "meta": path_value("metadata"),
    },
    order_description=TOTAL_ORDER,
    store_layout=StoreLayout("aggregate_event_entry", ("global_index",)),
)
