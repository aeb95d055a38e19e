"""Translates errors of Kafka's client into messages. Codes of the client itself begin with an underscore."""

from confluent_kafka import KafkaError

from storage.errors import SourceError

PARTITION_END = KafkaError._PARTITION_EOF
"""The code that reports the end of a partition, which is not an error."""
REFUSAL_CODES = (
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
)
"""Errors that don't go away by waiting."""


def translate_error(path: str, error: KafkaError) -> SourceError:
    """Return an error of Kafka's client as a message for a person; `path` is the link without secrets."""
    reason = {
        KafkaError._AUTHENTICATION: "the broker refuses the login",
        KafkaError.SASL_AUTHENTICATION_FAILED: "the broker refuses the login",
        KafkaError.TOPIC_AUTHORIZATION_FAILED: "this login has no permission to read the topic",
        KafkaError._SSL: "no secure connection to the broker",
        KafkaError._ALL_BROKERS_DOWN: "no broker answers",
        KafkaError._TRANSPORT: "the broker can't be reached",
        KafkaError._TIMED_OUT: "the broker doesn't answer",
        KafkaError._RESOLVE: "the broker's host name isn't known",
    }.get(error.code(), "Kafka reports an error")
    return SourceError(f"{path}: {reason} ({error.str()}).")
