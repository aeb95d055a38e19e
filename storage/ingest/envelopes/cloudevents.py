"""CloudEvents 1.0 in the JSON format; other members are extensions. Source: the specification."""

from storage.ingest.envelopes.envelope import (
    RECORD_ORDER,
    REMAINING,
    Envelope,
    first_present,
    path_value,
)

CLOUDEVENTS = Envelope(
    name="cloudevents",
    required_members=("specversion", "id", "source", "type"),
    fields={
        "offset": path_value("sequence"),
        "time": path_value("time"),
        "stream": first_present(
            path_value("subject"), path_value("partitionkey"), path_value("source")
        ),
        "type": path_value("type"),
        "version": path_value("dataschema"),
        "id": path_value("id"),
        "correlation_id": path_value("correlationid"),
        "causation_id": path_value("causationid"),
        "data": first_present(path_value("data"), path_value("data_base64")),
        "meta": REMAINING,
    },
    order_description=RECORD_ORDER,
)
