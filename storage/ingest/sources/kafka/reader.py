"""Reads records of several partitions from a consumer in batches and merges them into one order."""

import base64
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from storage.errors import SourceError
from storage.ingest.sources.kafka import kafka_errors
from storage.ingest.sources.kafka.partition_merge import PartitionMerge

PATIENCE_SECONDS = 30.0
"""Seconds without a record after which an earlier error of the broker ends the read."""
_BATCH_MESSAGES = 500
"""Messages per call; more objects at once would trigger Python's garbage collector again and again."""
_MERGE_ROWS = 10_000
_MAX_WAITING_RECORDS = 400_000
"""Records of one partition that may wait before the partition is paused."""

RECORD_SCHEMA = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int64()),
        ("offset", pa.int64()),
        ("tstype", pa.string()),
        ("timestamp", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", pa.string()),
    ]
)
_TIMESTAMP_TYPES = pa.array(["none", "create", "append"])

_PartitionNumbers = np.ndarray[tuple[int], np.dtype[np.int64]]

Partition = tuple[str, int]
"""A topic and the number of one of its partitions."""


@dataclass
class OffsetRange:
    """The offsets to read of a partition: from `first_offset` up to but without `end_offset`."""

    first_offset: int
    end_offset: int


class PartitionReader:
    """Reads the given offset ranges of partitions in one order."""

    def __init__(
        self,
        consumer: Consumer,
        ranges: dict[Partition, OffsetRange],
        path: str,
        errors: list[KafkaError],
    ) -> None:
        self._consumer = consumer
        self._ranges = ranges
        self._path = path
        self._errors = errors
        self._number_by_partition = {partition: number for number, partition in enumerate(ranges)}
        self._open_partitions = set(ranges)
        self._paused_partitions: set[Partition] = set()
        self._merge = PartitionMerge(len(ranges))

    def read_batches(self) -> Iterator[pa.RecordBatch]:
        last_message_at = time.monotonic()
        waiting_rows = 0
        while self._open_partitions:
            messages = self._consumer.consume(_BATCH_MESSAGES, timeout=0.5)
            if messages:
                last_message_at = time.monotonic()
            self._raise_if_broken(time.monotonic() - last_message_at)
            if records := self._split_records(messages):
                batch, numbers = self._filter_ranges(_messages_to_batch(records))
                if len(self._ranges) == 1:
                    yield batch
                    continue
                self._merge.add_records(batch, numbers)
                waiting_rows += batch.num_rows
            if not records or waiting_rows >= _MERGE_ROWS:
                yield from self._merge.take_ready()
                self._pause_partitions_ahead()
                waiting_rows = 0
        yield from self._merge.take_ready()

    def _raise_if_broken(self, silent_seconds: float) -> None:
        for error in self._errors:
            if (
                error.fatal()
                or error.code() in kafka_errors.REFUSAL_CODES
                or silent_seconds > PATIENCE_SECONDS
            ):
                raise kafka_errors.translate_error(self._path, error)
        if silent_seconds > 2 * PATIENCE_SECONDS:
            raise SourceError(
                f"{self._path}: the broker has sent nothing for {silent_seconds:.0f} s; check it and try again."
            )

    def _split_records(self, messages: list[Message]) -> list[Message]:
        """Return the messages that are records; note ends of partitions and raise errors."""
        errors = list(map(Message.error, messages))
        if any(errors):
            for message, error in zip(messages, errors, strict=True):
                if error is None:
                    continue
                if error.code() != kafka_errors.PARTITION_END:
                    raise kafka_errors.translate_error(self._path, error)
                self._end_partition((message.topic() or "", message.partition() or 0))
            messages = [m for m, e in zip(messages, errors, strict=True) if e is None]
        return messages

    def _end_partition(self, partition: Partition) -> None:
        if partition in self._open_partitions:
            self._open_partitions.discard(partition)
            self._merge.end_partition(self._number_by_partition[partition])
            self._consumer.pause([TopicPartition(*partition)])

    def _filter_ranges(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, _PartitionNumbers]:
        """Return the records inside the ranges, and the number of the partition of each."""
        offsets = batch["offset"].to_numpy()
        numbers = self._partition_numbers(batch)
        keep = np.ones(len(offsets), dtype=bool)
        for number, (partition, offset_range) in enumerate(self._ranges.items()):
            own = numbers == number
            if own.any():
                keep &= ~(own & (offsets >= offset_range.end_offset))
                if offsets[own].max() >= offset_range.end_offset - 1:
                    self._end_partition(partition)
        if not keep.all():
            batch, numbers = batch.filter(pa.array(keep)), numbers[keep]
        return batch, numbers

    def _partition_numbers(self, batch: pa.RecordBatch) -> _PartitionNumbers:
        if len(self._number_by_partition) == 1:
            return np.zeros(batch.num_rows, dtype=np.int64)
        partitions = batch["partition"].to_numpy()
        topics = np.array(batch["topic"].to_pylist(), dtype=object)
        numbers = np.zeros(len(partitions), dtype=np.int64)
        for (topic, partition), number in self._number_by_partition.items():
            numbers[(topics == topic) & (partitions == partition)] = number
        return numbers

    def _pause_partitions_ahead(self) -> None:
        """Pause partitions that are far ahead of others in time, and resume those that no longer are."""
        for partition in self._open_partitions:
            count = self._merge.waiting_counts[self._number_by_partition[partition]]
            if (
                count > _MAX_WAITING_RECORDS
                and partition not in self._paused_partitions
                and len(self._open_partitions) > 1
            ):
                self._paused_partitions.add(partition)
                self._consumer.pause([TopicPartition(*partition)])
            elif count < _MAX_WAITING_RECORDS // 2 and partition in self._paused_partitions:
                self._paused_partitions.discard(partition)
                self._consumer.resume([TopicPartition(*partition)])


def _messages_to_batch(messages: list[Message]) -> pa.RecordBatch:
    # map over methods of C avoids a Python frame for each record.
    count = len(messages)
    both = chain.from_iterable(map(Message.timestamp, messages))
    times = np.fromiter(both, np.int64, 2 * count).reshape(count, 2)
    headers = [None if h is None else _headers_to_json(h) for h in map(Message.headers, messages)]
    arrays = [
        pa.array(list(map(Message.topic, messages)), pa.string()),
        pa.array(np.fromiter(map(Message.partition, messages), np.int64, count)),
        pa.array(np.fromiter(map(Message.offset, messages), np.int64, count)),
        _TIMESTAMP_TYPES.take(pa.array(times[:, 0])),
        pa.array(times[:, 1]),
        pa.array(list(map(_key, messages)), pa.binary()),
        pa.array(list(map(_value, messages)), pa.binary()),
        pa.array(headers, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=RECORD_SCHEMA)


_key, _value = Message.key, Message.value


def _headers_to_json(headers: Any) -> str:
    pairs = [{"key": key, "value": None if v is None else _header_text(v)} for key, v in headers]
    return msgspec.json.encode(pairs).decode()


def _header_text(value: bytes) -> str:
    """Return a header's value as text, or as base64 if it isn't UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def decode_text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode(errors="replace")
