"""Records of several partitions, drawn from a consumer in batches and put into one order."""

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
from storage.ingest.sources.kafka.merging import Merge

PATIENCE = 30.0
"""Seconds without a record after which a broker that complained is taken to be gone."""
_AT_ONCE = 500
"""Messages at a time: with some more Python would begin to look for garbage among them, again and again."""
_MERGED_AT_ONCE = 10_000
_MOST_WAITING = 400_000
"""Records of one partition that may wait for those of others."""

SCHEMA = pa.schema(
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
_TIMES = pa.array(["none", "create", "append"])

_Places = np.ndarray[tuple[int], np.dtype[np.int64]]

Place = tuple[str, int]
"""A topic and a partition of it."""


@dataclass
class Range:
    """What is read of a partition: from an offset on, up to before another."""

    start: int
    end: int


class Reader:
    """Draws records of several partitions, and puts them in one order."""

    def __init__(
        self,
        consumer: Consumer,
        wanted: dict[Place, Range],
        path: str,
        heard: list[KafkaError],
    ) -> None:
        self._consumer = consumer
        self._wanted = wanted
        self._path = path
        self._heard = heard
        self._numbers = {place: number for number, place in enumerate(wanted)}
        self._open = set(wanted)
        self._paused: set[Place] = set()
        self._merge = Merge(len(wanted))

    def batches(self) -> Iterator[pa.RecordBatch]:
        heard = time.monotonic()
        added = 0
        while self._open:
            messages = self._consumer.consume(_AT_ONCE, timeout=0.5)
            if messages:
                heard = time.monotonic()
            self._complain(time.monotonic() - heard)
            if good := self._take(messages):
                batch, places = self._wanted_of(_batch(good))
                if len(self._wanted) == 1:
                    yield batch
                    continue
                self._merge.add(batch, places)
                added += batch.num_rows
            if not good or added >= _MERGED_AT_ONCE:
                yield from self._merge.ready()
                self._hold_back()
                added = 0
        yield from self._merge.ready()

    def _complain(self, silent: float) -> None:
        for error in self._heard:
            if error.fatal() or error.code() in kafka_errors.REFUSED or silent > PATIENCE:
                raise kafka_errors.said(self._path, error)
        if silent > 2 * PATIENCE:
            raise SourceError(f"{self._path}: the broker has sent nothing for {silent:.0f} s.")

    def _take(self, messages: list[Message]) -> list[Message]:
        """Those that are records and wanted; ends of partitions are noted."""
        errors = list(map(Message.error, messages))
        if any(errors):
            for message, error in zip(messages, errors, strict=True):
                if error is None:
                    continue
                if error.code() != kafka_errors.END:
                    raise kafka_errors.said(self._path, error)
                self._end((message.topic() or "", message.partition() or 0))
            messages = [m for m, e in zip(messages, errors, strict=True) if e is None]
        return messages

    def _end(self, place: Place) -> None:
        if place in self._open:
            self._open.discard(place)
            self._merge.end(self._numbers[place])
            self._consumer.pause([TopicPartition(*place)])

    def _wanted_of(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, _Places]:
        """The records that are asked for, and the number of the partition of each."""
        offsets = batch["offset"].to_numpy()
        places = self._places(batch)
        keep = np.ones(len(offsets), dtype=bool)
        for number, (place, there) in enumerate(self._wanted.items()):
            own = places == number
            if own.any():
                keep &= ~(own & (offsets >= there.end))
                if offsets[own].max() >= there.end - 1:
                    self._end(place)
        if not keep.all():
            batch, places = batch.filter(pa.array(keep)), places[keep]
        return batch, places

    def _places(self, batch: pa.RecordBatch) -> _Places:
        if len(self._numbers) == 1:
            return np.zeros(batch.num_rows, dtype=np.int64)
        partitions = batch["partition"].to_numpy()
        topics = np.array(batch["topic"].to_pylist(), dtype=object)
        places = np.zeros(len(partitions), dtype=np.int64)
        for (topic, partition), number in self._numbers.items():
            places[(topics == topic) & (partitions == partition)] = number
        return places

    def _hold_back(self) -> None:
        """Let partitions wait that are far ahead of others in time."""
        for place in self._open:
            count = self._merge.counts[self._numbers[place]]
            if count > _MOST_WAITING and place not in self._paused and len(self._open) > 1:
                self._paused.add(place)
                self._consumer.pause([TopicPartition(*place)])
            elif count < _MOST_WAITING // 2 and place in self._paused:
                self._paused.discard(place)
                self._consumer.resume([TopicPartition(*place)])


def _batch(messages: list[Message]) -> pa.RecordBatch:
    # The methods are called without a Python frame a record.
    count = len(messages)
    both = chain.from_iterable(map(Message.timestamp, messages))
    times = np.fromiter(both, np.int64, 2 * count).reshape(count, 2)
    headers = [None if h is None else _headers(h) for h in map(Message.headers, messages)]
    arrays = [
        pa.array(list(map(Message.topic, messages)), pa.string()),
        pa.array(np.fromiter(map(Message.partition, messages), np.int64, count)),
        pa.array(np.fromiter(map(Message.offset, messages), np.int64, count)),
        _TIMES.take(pa.array(times[:, 0])),
        pa.array(times[:, 1]),
        pa.array(list(map(_key, messages)), pa.binary()),
        pa.array(list(map(_value, messages)), pa.binary()),
        pa.array(headers, pa.string()),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


_key, _value = Message.key, Message.value


def _headers(headers: Any) -> str:
    pairs = [{"key": key, "value": None if v is None else _header(v)} for key, v in headers]
    return msgspec.json.encode(pairs).decode()


def _header(value: bytes) -> str:
    """Its text, or base64 of what is none."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode(errors="replace")
