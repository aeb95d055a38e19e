"""Events as handlers see them: views on a batch of columns, decoded on first access."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_left
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from itertools import chain
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

try:
    import msgspec
except ImportError:  # optional in the user's interpreter
    msgspec = None  # type: ignore[assignment]

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EVENTS_DECODED_TOGETHER = 256
"""Number of events whose data is decoded in one call."""
MISSING_NUMBER = -(2**63)
"""Stands for NULL in a column of integers."""


class _Deleted:
    """The value that a handler returns to delete its document."""

    def __repr__(self) -> str:
        return "DELETED"


DELETED = _Deleted()


EVENT_FIELDS = (
    *("offset", "time", "stream", "revision", "type", "version"),
    *("id", "correlation_id", "causation_id", "data", "meta"),
)


class Upcast:
    """An event as `upcast` returned it; any field may differ from the stored event."""

    __slots__ = EVENT_FIELDS
    DELETED = DELETED
    offset: int
    stream: Optional[str]
    type: Optional[str]
    version: Any
    data: Any

    def __init__(self, event: Any, changes: Dict[str, Any]) -> None:
        for name in EVENT_FIELDS:
            setattr(self, name, changes[name] if name in changes else getattr(event, name))
        unknown = set(changes) - set(EVENT_FIELDS)
        if unknown:
            raise TypeError(f"an event has no field {min(unknown)}")

    def replace(self, **changes: Any) -> "Upcast":
        """Return the event with some fields changed."""
        return Upcast(self, changes)

    def __repr__(self) -> str:
        return f"<event {self.offset} {self.type} of {self.stream}>"


class Event:
    """One event. `data` and `meta` are fresh plain values; what a handler does to them is lost.

    It has no `__init__`: `build_event` or the fold loop fills it, which is faster for each event.
    """

    __slots__ = ("_batch", "_index", "data")
    DELETED = DELETED
    _batch: EventBatch
    _index: int
    data: Any

    @property
    def offset(self) -> int:
        """0-based index in the log."""
        return self._batch.offset(self._index)

    @property
    def time(self) -> Optional[datetime]:
        """When the event happened, in UTC."""
        micros = self._batch.numbers("time")[self._index]
        return None if micros == MISSING_NUMBER else EPOCH + timedelta(microseconds=micros)

    @property
    def stream(self) -> Optional[str]:
        return self._batch.streams[self._batch.stream_codes[self._index]]

    @property
    def type(self) -> Optional[str]:
        return self._batch.types[self._batch.type_codes[self._index]]

    @property
    def revision(self) -> Optional[int]:
        """Number inside the stream, from 0 or the first number that the source uses."""
        number = self._batch.numbers("revision")[self._index]
        return None if number == MISSING_NUMBER else number

    @property
    def version(self) -> Any:
        """The version of the event's schema; an int if its text is a whole number."""
        text = self._batch.texts("version")[self._index]
        return int(text) if text is not None and text.isdecimal() else text

    @property
    def id(self) -> Optional[str]:
        return self._batch.texts("id")[self._index]

    @property
    def correlation_id(self) -> Optional[str]:
        return self._batch.texts("correlation_id")[self._index]

    @property
    def causation_id(self) -> Optional[str]:
        return self._batch.texts("causation_id")[self._index]

    @property
    def meta(self) -> Any:
        text = self._batch.texts("meta")[self._index]
        return None if text is None else self._batch.decode(text)

    def replace(self, **changes: Any) -> Upcast:
        """Return the event with some fields changed, for `upcast`."""
        return Upcast(self, changes)

    def __repr__(self) -> str:
        return f"<event {self.offset} {self.type} of {self.stream}>"


def build_event(batch: EventBatch, index: int, data: Any) -> Event:
    """Return an event of a batch with its decoded data."""
    event = Event()
    event._batch, event._index, event.data = batch, index, data
    return event


class LazyEvent(Event):
    """One event whose data is decoded on first access."""

    __slots__ = ()

    def __init__(self, batch: EventBatch, index: int) -> None:
        self._batch = batch
        self._index = index

    def __getattr__(self, name: str) -> Any:
        # Python calls this only for attributes that aren't set.
        if name != "data":
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self.data = self._batch.data_of(self._index)
        return self.data


# A handler that prints the type should see the same name for all events.
LazyEvent.__name__ = LazyEvent.__qualname__ = Event.__name__


class EventBatch:
    """Consecutive events in columns, as they came from the parent."""

    def __init__(self, header: Any, parts: List[bytes], decode: Callable[[Any], Any]) -> None:
        self.decode = decode
        self.event_count: int = header["count"]
        self._parts = dict(zip(header["columns"], parts))
        self.offsets = _decode_numbers("q", self._parts["offset"])
        self.types: List[Optional[str]] = [*json.loads(self._parts["types"]), None]
        self.type_codes: Sequence[int] = _decode_numbers("i", self._parts["type_codes"])
        self.streams: List[Optional[str]] = [*json.loads(self._parts["streams"]), None]
        self.stream_codes: Sequence[int] = _decode_numbers("i", self._parts["stream_codes"])
        self._texts: dict[str, List[Optional[str]]] = {}
        self._numbers: dict[str, Any] = {}

    def streams_of_events(self) -> List[Optional[str]]:
        """Return the stream of each event."""
        return [self.streams[code] for code in self.stream_codes]

    def offset(self, index: int) -> int:
        return self.offsets[index]  # type: ignore[no-any-return]

    def data(self) -> Iterator[Any]:
        """Yield the decoded data of every event, decoded in chunks for speed.

        A chunk is small, so its values are still in the processor's cache when handlers read them.
        """
        return chain.from_iterable(self._iterate_decoded_chunks())

    def _iterate_decoded_chunks(self) -> Iterator[List[Any]]:
        data, lengths = self._parts["data"], _decode_numbers("i", self._parts["data_lengths"])
        end = 1
        for first in range(0, self.event_count, _EVENTS_DECODED_TOGETHER):
            chunk_lengths = lengths[first : first + _EVENTS_DECODED_TOGETHER]
            start = end
            # NULL has length -1 and is written as null; a comma or bracket follows each value.
            end += sum(chunk_lengths) + 5 * chunk_lengths.count(-1) + len(chunk_lengths)
            try:
                values = self.decode(b"[%b]" % data[start : end - 1])
            except Exception:
                values = None
            if isinstance(values, list) and len(values) == len(chunk_lengths):
                yield values
            else:
                yield [self.data_of(first + index) for index in range(len(chunk_lengths))]

    def data_of(self, index: int) -> Any:
        """Return a fresh copy of one event's data; None if Python can't decode it."""
        text = self.texts("data")[index]
        if text is None:
            return None
        try:
            return self.decode(text)
        except Exception:
            return self._decode_leniently(text)

    def _decode_leniently(self, text: str) -> Any:
        """Decode what only the standard library reads: lone surrogates, numbers beyond floats."""
        try:
            return json.loads(text, parse_float=type(self.decode("0.5")))
        except Exception:
            return None

    def stream_of(self, offset: int) -> Optional[str]:
        """Return the stream of the event at an offset; None if it is in a later batch."""
        index = bisect_left(self.offsets, offset)
        return self.streams[self.stream_codes[index]] if index < self.event_count else None

    def id_of(self, offset: int) -> Optional[str]:
        """Return the id of the event at an offset."""
        return self.texts("id")[bisect_left(self.offsets, offset)]

    def recorded_answers(self) -> Dict[int, List[Any]]:
        """Return the recordings of calls by offset.

        Each is a list of key, port, operation, request (canonical JSON), response, the recording's
        number, and whether it was a command.
        """
        recordings: Dict[int, List[Any]] = {}
        if "answers" in self._parts:
            entries = self.decode(self._parts["answers"])
            for offset, entry in zip(_decode_numbers("q", self._parts["answered"]), entries):
                recordings.setdefault(offset, []).append(entry)
        return recordings

    def numbers(self, column: str) -> Any:
        if column not in self._numbers:
            self._numbers[column] = _decode_numbers("q", self._parts[column])
        return self._numbers[column]

    def texts(self, column: str) -> List[Optional[str]]:
        if column not in self._texts:
            self._texts[column] = _split_texts(
                self._parts[column],
                _decode_numbers("i", self._parts[column + "_lengths"]),
                column == "data",
            )
        return self._texts[column]


def build_decoder(*, decimals: bool) -> Callable[[Any], Any]:
    """Return a decoder from JSON text or bytes to values, like `json.loads`.

    With `decimals`, numbers with a fraction become Decimal.
    """
    if msgspec is not None:
        if decimals:
            return msgspec.json.Decoder(float_hook=Decimal).decode
        return msgspec.json.Decoder().decode
    if decimals:
        return lambda text: json.loads(text, parse_float=Decimal)
    return json.loads


def _decode_numbers(kind: str, data: bytes) -> Any:
    numbers = array(kind)
    numbers.frombytes(data)
    return numbers


def _split_texts(data: bytes, lengths: Any, in_list: bool) -> List[Optional[str]]:
    """Split a blob into texts; length -1 is NULL. A JSON list has one character between items."""
    step = 1 if in_list else 0
    position = step
    texts: List[Optional[str]] = []
    for length in lengths:
        if length < 0:
            # A list writes NULL as null.
            texts.append(None)
            position += 4 + step if in_list else 0
        else:
            texts.append(data[position : position + length].decode())
            position += length + step
    return texts
