"""Dumps of Kafka topics: `kcat -J`, `rpk topic consume`, `kafka-console-consumer`, and Connect's JSON.

Source: kcat's and rpk's output formats, Kafka's DefaultMessageFormatter and JsonConverter. The source
position of a record is its partition and offset. The value may be another envelope.
"""

from storage.ingest.envelopes.envelope import (
    ORDER_BY_PARTITION,
    Envelope,
    FieldExpressions,
    NormalizedRecord,
    first_present,
    fixed_text,
    header_value,
    join_texts,
    path_value,
)

TYPE_HEADERS = ("type", "event-type", "eventType", "event_type", "ce_type", "ce-type", "__TypeId__")
"""Headers in which producers write the type of an event."""


def _record_fields(value: str, time: str) -> FieldExpressions:
    return {
        "offset": join_texts(path_value("partition"), path_value("offset"), separator=":"),
        "time": first_present(header_value("headers", "ce_time"), path_value(time)),
        "stream": first_present(
            header_value("headers", "ce_subject"), path_value("key"), path_value("topic")
        ),
        "type": first_present(
            *(header_value("headers", name) for name in TYPE_HEADERS),
            path_value("topic"),
            fixed_text("message"),
        ),
        "id": first_present(header_value("headers", "ce_id"), header_value("headers", "id")),
        "correlation_id": first_present(
            header_value("headers", "correlation_id"), header_value("headers", "correlationId")
        ),
        "causation_id": first_present(
            header_value("headers", "causation_id"), header_value("headers", "causationId")
        ),
        "data": path_value(value),
        "meta": path_value("headers"),
    }


def _is_connect(record: NormalizedRecord) -> bool:
    return set(record) == {"schema", "payload"}


KAFKA = Envelope(
    name="kafka",
    required_members=(
        "topic",
        "partition",
        "offset",
        "tstype",
        "timestamp",
        "key",
        "value",
        "headers",
    ),
    fields=_record_fields("value", "timestamp"),
    order_description=ORDER_BY_PARTITION,
    inner_member="value",
    overriding_fields=("offset",),
)
KCAT = Envelope(
    name="kcat",
    required_members=("topic", "partition", "offset", "tstype", "payload"),
    fields=_record_fields("payload", "ts"),
    order_description=ORDER_BY_PARTITION,
    inner_member="payload",
    overriding_fields=("offset",),
)
RPK = Envelope(
    name="rpk",
    required_members=("topic", "partition", "offset", "value"),
    fields=_record_fields("value", "timestamp"),
    order_description=ORDER_BY_PARTITION,
    inner_member="value",
    overriding_fields=("offset",),
)
CONSOLE_CONSUMER = Envelope(
    name="kafka-console-consumer",
    required_members=("tstype", "timestamp", "value"),
    fields=_record_fields("value", "timestamp"),
    order_description=ORDER_BY_PARTITION,
    inner_member="value",
    overriding_fields=("offset",),
)
KAFKA_CONNECT = Envelope(
    name="kafka-connect",
    required_members=("schema", "payload"),
    fields={"data": path_value("payload")},
    order_description=ORDER_BY_PARTITION,
    matches_values=_is_connect,
    inner_member="payload",
)
