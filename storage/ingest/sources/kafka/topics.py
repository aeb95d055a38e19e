"""Topics of Kafka as a piece of a source: which partitions, from where to where, read without a trace.

It is read by assignment, not by a group, and nothing is committed. What is there when reading begins is
what is read; the next offset of each partition is kept, so that reading goes on from there.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from storage.errors import SourceError
from storage.ingest.formats import SAMPLE, Format, Reading
from storage.ingest.io import fingerprints
from storage.ingest.io.fingerprints import Fingerprint
from storage.ingest.mapping import FieldMapping, Record
from storage.ingest.sources import uris
from storage.ingest.sources.kafka import kafka_errors, settings
from storage.ingest.sources.kafka.reader import SCHEMA, Place, Range, Reader, text
from storage.ingest.sources.row_format import Rows, numbered
from storage.ingest.sources.uris import Link

OWN = ("config", "registry", "partitions", "from", "to")
"""Parameters of a link that are ours."""

_ASKED = 15.0
"""Seconds that a broker may take to say which topics there are."""
_TYPES = {
    **dict.fromkeys(("topic", "tstype"), "VARCHAR"),
    **dict.fromkeys(("partition", "offset", "timestamp"), "BIGINT"),
    **dict.fromkeys(("key", "value"), "BLOB"),
    "headers": "JSON",
}


@dataclass
class Topics:
    """One topic, or several as one log."""

    link: Link
    said: dict[str, str]
    ranges: dict[Place, Range]
    """In the order of the topics as they were named."""
    size: int = 0
    _troubles: list[KafkaError] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.link.public

    @property
    def format(self) -> Format:
        return Rows("kafka")

    def sample(self) -> Sequence[Record]:
        """Records from the beginning of every partition; raises `SourceError` where there is none."""
        share = max(SAMPLE // max(len(self.ranges), 1), 20)
        few = {p: Range(r.start, min(r.end, r.start + share)) for p, r in self.ranges.items()}
        found: list[Record] = []
        for batch in self._read(few):
            found += _records(batch)
        if not found:
            raise SourceError(f"There is no record in {self.path}.")
        return found[:SAMPLE]

    def batches(self, reading: Reading, mapping: FieldMapping) -> Iterator[pa.RecordBatch]:
        known: dict[str, int] = reading.position.get("next", {})
        ranges = {}
        for place, there in self.ranges.items():
            start = known.get(_written(place), there.start)
            if start < there.start and known:
                gone = f"{_written(place)}: {start} to {there.start - 1} were removed before they were read"
                reading.reject(reading.start_line, gone, "", 0)
            ranges[place] = Range(max(start, there.start), there.end)
        ends = {_written(place): r.end for place, r in ranges.items()}
        reading.position = {"next": {**known, **ends}}
        yield from numbered(self._read(ranges, reading), _TYPES, reading, mapping)
        reading.taken = reading.lines

    def taken(self, reading: Reading) -> Fingerprint:
        return fingerprints.at(self.path, reading.lines, reading.position)

    # Reading

    def _read(
        self, ranges: dict[Place, Range], reading: Reading | None = None
    ) -> Iterator[pa.RecordBatch]:
        wanted = {place: r for place, r in ranges.items() if r.start < r.end}
        if not wanted:
            return
        registry = self._registry()
        consumer = _consumer(self.said, self._troubles)
        try:
            consumer.assign([TopicPartition(t, p, wanted[t, p].start) for t, p in wanted])
            reader = Reader(consumer, wanted, self.path, self._troubles)
            for batch in reader.batches():
                if registry is not None:
                    batch = _decoded(batch, registry)  # noqa: PLW2901 - the same records
                yield batch
        except KafkaException as error:
            raise kafka_errors.said(self.path, error.args[0]) from error
        finally:
            consumer.close()
            if registry is not None:
                registry.close()
                if reading is not None:
                    reading.undecoded += registry.undecoded

    def _registry(self) -> Any:
        said = settings.of_registry(self.said)
        if not said:
            return None
        from storage.ingest.sources.kafka.registry import Registry  # noqa: PLC0415 - by those who have one

        return Registry(said)


def look(name: str) -> Topics:
    """The topics that a link names, as they are now.

    Raises `SourceError` where the broker isn't there or refuses, or a topic doesn't exist.
    """
    link = uris.read(name, OWN)
    said = settings.read(link)
    wanted = [
        topic for topic in link.place.rpartition("/")[2].partition("?")[0].split(",") if topic
    ]
    if not wanted:
        raise SourceError(f"{link.public} names no topic; write kafka://HOST:PORT/TOPIC.")
    heard: list[KafkaError] = []
    consumer = _consumer(said, heard)
    try:
        places = _places(_topics(consumer, link, heard), wanted, link)
        ranges = {place: _range(consumer, place, link) for place in places}
    except KafkaException as error:
        raise kafka_errors.said(link.public, error.args[0]) from error
    finally:
        consumer.close()
    return Topics(link, said, ranges)


def _topics(consumer: Consumer, link: Link, heard: list[KafkaError]) -> dict[str, Any]:
    """What topics there are; gives up as soon as the broker refuses."""
    deadline = time.monotonic() + _ASKED
    while True:
        try:
            found: dict[str, Any] = consumer.list_topics(timeout=1).topics
            return found
        except KafkaException as error:
            consumer.poll(0)  # what went wrong is told only now
            refused = next((one for one in heard if one.code() in kafka_errors.REFUSED), None)
            if refused is not None or time.monotonic() > deadline:
                raise kafka_errors.said(
                    link.public, refused or (heard or error.args)[-1]
                ) from error


def _places(there: dict[str, Any], wanted: list[str], link: Link) -> list[Place]:
    chosen = {int(p) for p in link.wishes.get("partitions", "").split(",") if p.strip().isdigit()}
    places = []
    for topic in wanted:
        if topic not in there or there[topic].error is not None:
            known = sorted(name for name in there if not name.startswith("__"))[:20]
            raise SourceError(
                f"{link.public}: there is no topic {topic}; there are: {', '.join(known) or 'none'}."
            )
        partitions = sorted(there[topic].partitions)
        if chosen - set(partitions):
            raise SourceError(
                f"{topic} has no partition {min(chosen - set(partitions))}; it has {len(partitions)}."
            )
        places += [(topic, one) for one in partitions if not chosen or one in chosen]
    return places


def _range(consumer: Consumer, place: Place, link: Link) -> Range:
    low, high = consumer.get_watermark_offsets(TopicPartition(*place), timeout=_ASKED)
    start = _bound(consumer, place, link.wishes.get("from"), low, high)
    end = _bound(consumer, place, link.wishes.get("to"), high, high)
    return Range(max(low, start), min(high, end))


def _bound(consumer: Consumer, place: Place, said: str | None, default: int, high: int) -> int:
    """An offset: given, negative from the end, or the first one at a time."""
    if not said:
        return default
    if said.lstrip("-").isdigit():
        return int(said) if int(said) >= 0 else high + int(said)
    try:
        moment = datetime.fromisoformat(said)
    except ValueError as error:
        raise SourceError(
            f"{said!r} is neither an offset nor a time; write 1200 or 2026-01-03T12:00."
        ) from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    asked = TopicPartition(*place, int(moment.timestamp() * 1000))
    found = consumer.offsets_for_times([asked], timeout=_ASKED)[0].offset
    return found if found >= 0 else high


def _consumer(said: dict[str, str], heard: list[KafkaError]) -> Consumer:
    try:
        return Consumer({**settings.of_consumer(said), "error_cb": heard.append})
    except KafkaException as error:
        raise SourceError(
            f"Kafka's client refuses the configuration: {error.args[0].str()}."
        ) from error


def _decoded(batch: pa.RecordBatch, registry: Any) -> pa.RecordBatch:
    for name in ("key", "value"):
        index = SCHEMA.get_field_index(name)
        array = pa.array(registry.decoded(batch[name].to_pylist()), pa.binary())
        batch = batch.set_column(index, name, array)
    return batch


def _records(batch: pa.RecordBatch) -> list[Record]:
    rows: list[dict[str, Any]] = batch.to_pylist()
    for row in rows:
        for name in ("key", "value"):
            if row[name] is not None:
                row[name] = text(row[name])
    return rows  # type: ignore[return-value]


def _written(place: Place) -> str:
    return f"{place[0]}/{place[1]}"
