"""CloudEvents 1.0 in their JSON format; what it doesn't name are extensions. Source: its specification."""

from storage.ingest.envelopes.envelope import AS_WRITTEN, REST, Envelope, at, first

CLOUDEVENTS = Envelope(
    name="cloudevents",
    requires=("specversion", "id", "source", "type"),
    fields={
        "offset": at("sequence"),
        "time": at("time"),
        "stream": first(at("subject"), at("partitionkey"), at("source")),
        "type": at("type"),
        "version": at("dataschema"),
        "id": at("id"),
        "correlation_id": at("correlationid"),
        "causation_id": at("causationid"),
        "data": first(at("data"), at("data_base64")),
        "meta": REST,
    },
    order=AS_WRITTEN,
)
