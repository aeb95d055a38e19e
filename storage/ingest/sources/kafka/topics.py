"""Topics of Kafka as a part of a source: chooses partitions and offset ranges, and reads them without a trace.

refold assigns partitions itself, joins no consumer group and commits nothing. A load reads the records that
exist when it begins. The fingerprint stores the next offset of each partition, where the next load continues.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from storage.errors import SourceError
from storage.ingest.formats import SAMPLE_RECORDS, Format, ReadPass
from storage.ingest.io import fingerprints
from storage.ingest.io.fingerprints import Fingerprint
from storage.ingest.mapping import FieldMapping, Record
from storage.ingest.sources import uris
from storage.ingest.sources.kafka import kafka_errors, settings
from storage.ingest.sources.kafka.reader import (
    RECORD_SCHEMA,
    OffsetRange,
    Partition,
    PartitionReader,
    decode_text,
)
from storage.ingest.sources.row_format import RowFormat, number_rows
from storage.ingest.sources.uris import SourceUri

URI_OPTIONS = ("config", "registry", "partitions", "from", "to")
"""Parameters of a link that are for refold."""

_METADATA_TIMEOUT_SECONDS = 15.0
"""Seconds that a broker may take to list its topics or to resolve offsets."""
_COLUMN_TYPES = {
    **dict.fromkeys(("topic", "tstype"), "VARCHAR"),
    **dict.fromkeys(("partition", "offset", "timestamp"), "BIGINT"),
    **dict.fromkeys(("key", "value"), "BLOB"),
    "headers": "JSON",
}


@dataclass
class TopicSource:
    """One topic, or several topics as one log."""

    uri: SourceUri
    client_settings: dict[str, str]
    ranges: dict[Partition, OffsetRange]
    """Offsets to read by partition, in the order in which the link names the topics."""
    size_bytes: int = 0
    _errors: list[KafkaError] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.uri.public_uri

    @property
    def format(self) -> Format:
        return RowFormat("kafka")

    def read_sample(self) -> Sequence[Record]:
        """Return records from the beginning of every partition; raises `SourceError` if there are none."""
        records_per_partition = max(SAMPLE_RECORDS // max(len(self.ranges), 1), 20)
        first_ranges = {
            p: OffsetRange(
                r.first_offset, min(r.end_offset, r.first_offset + records_per_partition)
            )
            for p, r in self.ranges.items()
        }
        found: list[Record] = []
        for batch in self._read_ranges(first_ranges):
            found += _batch_to_records(batch)
        if not found:
            raise SourceError(f"{self.path} has no records.")
        return found[:SAMPLE_RECORDS]

    def read_batches(self, reading: ReadPass, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        next_offsets: dict[str, int] = reading.source_position.get("next", {})
        ranges = {}
        for partition, available in self.ranges.items():
            start = next_offsets.get(_format_partition(partition), available.first_offset)
            if start < available.first_offset and next_offsets:
                reason = (
                    f"{_format_partition(partition)}: {start} to {available.first_offset - 1} were"
                    " removed before they were read"
                )
                reading.add_reject(reading.start_line, reason, "", 0)
            ranges[partition] = OffsetRange(
                max(start, available.first_offset), available.end_offset
            )
        ends = {_format_partition(partition): r.end_offset for partition, r in ranges.items()}
        reading.source_position = {"next": {**next_offsets, **ends}}
        yield from number_rows(self._read_ranges(ranges, reading), _COLUMN_TYPES, reading, mapping)
        reading.consumed = reading.line_count

    def take_fingerprint(self, reading: ReadPass) -> Fingerprint:
        return fingerprints.make_position_fingerprint(
            self.path, reading.line_count, reading.source_position
        )

    # Reading

    def _read_ranges(
        self, ranges: dict[Partition, OffsetRange], reading: ReadPass | None = None
    ) -> Iterator[pa.RecordBatch]:
        nonempty = {
            partition: r for partition, r in ranges.items() if r.first_offset < r.end_offset
        }
        if not nonempty:
            return
        registry = self._open_registry()
        consumer = _make_consumer(self.client_settings, self._errors)
        try:
            consumer.assign(
                [TopicPartition(t, p, nonempty[t, p].first_offset) for t, p in nonempty]
            )
            reader = PartitionReader(consumer, nonempty, self.path, self._errors)
            for batch in reader.read_batches():
                if registry is not None:
                    batch = _decode_batch(batch, registry)  # noqa: PLW2901 - the same records
                yield batch
        except KafkaException as error:
            raise kafka_errors.translate_error(self.path, error.args[0]) from error
        finally:
            consumer.close()
            if registry is not None:
                registry.close()
                if reading is not None:
                    reading.undecoded_count += registry.undecoded_count

    def _open_registry(self) -> Any:
        registry_settings = settings.registry_settings(self.client_settings)
        if not registry_settings:
            return None
        from storage.ingest.sources.kafka.registry import SchemaRegistry  # noqa: PLC0415 - only if configured

        return SchemaRegistry(registry_settings)


def open_topics(name: str) -> TopicSource:
    """Return the topics that a link names, with their current offset ranges.

    Raises `SourceError` if the broker doesn't answer or refuses, or if a topic doesn't exist.
    """
    uri = uris.parse_uri(name, URI_OPTIONS)
    client_settings = settings.read_settings(uri)
    topic_names = [
        topic for topic in uri.target.rpartition("/")[2].partition("?")[0].split(",") if topic
    ]
    if not topic_names:
        raise SourceError(f"{uri.public_uri} names no topic; write kafka://HOST:PORT/TOPIC.")
    errors: list[KafkaError] = []
    consumer = _make_consumer(client_settings, errors)
    try:
        partitions = _list_partitions(_list_topics(consumer, uri, errors), topic_names, uri)
        ranges = {partition: _resolve_range(consumer, partition, uri) for partition in partitions}
    except KafkaException as error:
        raise kafka_errors.translate_error(uri.public_uri, error.args[0]) from error
    finally:
        consumer.close()
    return TopicSource(uri, client_settings, ranges)


def _list_topics(consumer: Consumer, uri: SourceUri, errors: list[KafkaError]) -> dict[str, Any]:
    """What topics there are; gives up as soon as the broker refuses."""
    deadline = time.monotonic() + _METADATA_TIMEOUT_SECONDS
    while True:
        try:
            found: dict[str, Any] = consumer.list_topics(timeout=1).topics
            return found
        except KafkaException as error:
            consumer.poll(0)  # runs the error callback
            refused = next(
                (one for one in errors if one.code() in kafka_errors.REFUSAL_CODES), None
            )
            if refused is not None or time.monotonic() > deadline:
                raise kafka_errors.translate_error(
                    uri.public_uri, refused or (errors or error.args)[-1]
                ) from error


def _list_partitions(
    topics: dict[str, Any], topic_names: list[str], uri: SourceUri
) -> list[Partition]:
    chosen = {int(p) for p in uri.options.get("partitions", "").split(",") if p.strip().isdigit()}
    found = []
    for topic in topic_names:
        if topic not in topics or topics[topic].error is not None:
            known = sorted(name for name in topics if not name.startswith("__"))[:20]
            raise SourceError(
                f"{uri.public_uri}: there is no topic {topic}; topics: {', '.join(known) or 'none'}."
            )
        partitions = sorted(topics[topic].partitions)
        if chosen - set(partitions):
            raise SourceError(
                f"{topic} has no partition {min(chosen - set(partitions))}; it has {len(partitions)}."
            )
        found += [(topic, one) for one in partitions if not chosen or one in chosen]
    return found


def _resolve_range(consumer: Consumer, partition: Partition, uri: SourceUri) -> OffsetRange:
    low, high = consumer.get_watermark_offsets(
        TopicPartition(*partition), timeout=_METADATA_TIMEOUT_SECONDS
    )
    start = _resolve_bound(consumer, partition, uri.options.get("from"), low, high)
    end = _resolve_bound(consumer, partition, uri.options.get("to"), high, high)
    return OffsetRange(max(low, start), min(high, end))


def _resolve_bound(
    consumer: Consumer, partition: Partition, bound: str | None, default: int, high: int
) -> int:
    """Return an offset: as given, from the end if negative, or the first one at a time (UTC without a zone)."""
    if not bound:
        return default
    if bound.lstrip("-").isdigit():
        return int(bound) if int(bound) >= 0 else high + int(bound)
    try:
        moment = datetime.fromisoformat(bound)
    except ValueError as error:
        raise SourceError(
            f"{bound!r} is neither an offset nor a time; write 1200 or 2026-01-03T12:00."
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    at_time = TopicPartition(*partition, int(moment.timestamp() * 1000))
    found = consumer.offsets_for_times([at_time], timeout=_METADATA_TIMEOUT_SECONDS)[0].offset
    return found if found >= 0 else high


def _make_consumer(client_settings: dict[str, str], errors: list[KafkaError]) -> Consumer:
    try:
        return Consumer({**settings.consumer_settings(client_settings), "error_cb": errors.append})
    except KafkaException as error:
        raise SourceError(
            f"Kafka's client refuses the configuration: {error.args[0].str()}; correct the setting."
        ) from error


def _decode_batch(batch: pa.RecordBatch, registry: Any) -> pa.RecordBatch:
    for name in ("key", "value"):
        index = RECORD_SCHEMA.get_field_index(name)
        array = pa.array(registry.decode_payloads(batch[name].to_pylist()), pa.binary())
        batch = batch.set_column(index, name, array)
    return batch


def _batch_to_records(batch: pa.RecordBatch) -> list[Record]:
    rows: list[dict[str, Any]] = batch.to_pylist()
    for row in rows:
        for name in ("key", "value"):
            if row[name] is not None:
                row[name] = decode_text(row[name])
    return rows  # type: ignore[return-value]


def _format_partition(partition: Partition) -> str:
    return f"{partition[0]}/{partition[1]}"
