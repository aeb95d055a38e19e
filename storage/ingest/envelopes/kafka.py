"""Dumps of Kafka topics: `kcat -J`, `rpk topic consume`, `kafka-console-consumer`, and Connect's JSON.

Source: kcat's and rpk's output formats, Kafka's DefaultMessageFormatter and JsonConverter. A record's
place is its partition and offset; the value may be an envelope of its own.
"""

from storage.ingest.envelopes.envelope import (
    BY_PARTITION,
    Envelope,
    Fields,
    Folded,
    at,
    first,
    fixed,
    header,
    joined,
)

HEADERS = ("type", "event-type", "eventType", "event_type", "ce_type", "ce-type", "__TypeId__")
"""Headers in which producers name the type of an event."""


def _fields(value: str, time: str) -> Fields:
    return {
        "offset": joined(at("partition"), at("offset"), between=":"),
        "time": first(header("headers", "ce_time"), at(time)),
        "stream": first(header("headers", "ce_subject"), at("key"), at("topic")),
        "type": first(
            *(header("headers", name) for name in HEADERS), at("topic"), fixed("message")
        ),
        "id": first(header("headers", "ce_id"), header("headers", "id")),
        "correlation_id": first(
            header("headers", "correlation_id"), header("headers", "correlationId")
        ),
        "causation_id": first(header("headers", "causation_id"), header("headers", "causationId")),
        "data": at(value),
        "meta": at("headers"),
    }


def _is_connect(record: Folded) -> bool:
    return set(record) == {"schema", "payload"}


KAFKA = Envelope(
    name="kafka",
    requires=("topic", "partition", "offset", "tstype", "timestamp", "key", "value", "headers"),
    fields=_fields("value", "timestamp"),
    order=BY_PARTITION,
    inner="value",
    keeps=("offset",),
)
KCAT = Envelope(
    name="kcat",
    requires=("topic", "partition", "offset", "tstype", "payload"),
    fields=_fields("payload", "ts"),
    order=BY_PARTITION,
    inner="payload",
    keeps=("offset",),
)
RPK = Envelope(
    name="rpk",
    requires=("topic", "partition", "offset", "value"),
    fields=_fields("value", "timestamp"),
    order=BY_PARTITION,
    inner="value",
    keeps=("offset",),
)
CONSOLE_CONSUMER = Envelope(
    name="kafka-console-consumer",
    requires=("tstype", "timestamp", "value"),
    fields=_fields("value", "timestamp"),
    order=BY_PARTITION,
    inner="value",
    keeps=("offset",),
)
KAFKA_CONNECT = Envelope(
    name="kafka-connect",
    requires=("schema", "payload"),
    fields={"data": at("payload")},
    order=BY_PARTITION,
    looks=_is_connect,
    inner="payload",
)
