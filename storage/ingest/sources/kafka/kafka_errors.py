"""What Kafka's client complains of, as a sentence. Its own codes begin with an underscore."""

from confluent_kafka import KafkaError

from storage.errors import SourceError

PARTITION_END = KafkaError._PARTITION_EOF
"""Of what is no trouble: a partition has been read to its end."""
REFUSAL_CODES = (
    KafkaError._AUTHENTICATION,
    KafkaError._SSL,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
)
"""Troubles that waiting doesn't heal."""


def translate_error(path: str, error: KafkaError) -> SourceError:
    what = {
        KafkaError._AUTHENTICATION: "the broker refuses the login",
        KafkaError.SASL_AUTHENTICATION_FAILED: "the broker refuses the login",
        KafkaError.TOPIC_AUTHORIZATION_FAILED: "the topic may not be read with this login",
        KafkaError._SSL: "no secure connection with the broker",
        KafkaError._ALL_BROKERS_DOWN: "no broker answers",
        KafkaError._TRANSPORT: "the broker can't be reached",
        KafkaError._TIMED_OUT: "the broker doesn't answer",
        KafkaError._RESOLVE: "the broker's name isn't known",
    }.get(error.code(), "Kafka says")
    return SourceError(f"{path}: {what} ({error.str()}).")
