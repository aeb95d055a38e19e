"""The result of one batch of events, as Arrow columns, decoded from workers' frames and checked.

A single worker reports its changes in the order of the log, with the numbers under which they are kept.
Several workers share the documents: each reports its own changes with its own numbers. `BatchMerger`
merges these into the order and the numbers that a single worker would have given.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.worker_host import event_frame
from replay.worker_host.worker_frames import BrokenFrameError, Frame

IntegerArray = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class BatchResult:
    """The result of one batch."""

    changes: pa.Table
    """`offset`, `key`, `state`, `previous`: number of the document's previous change, or -1; and
    `in_parts`: whether the document is kept in parts, which then hold the state."""
    parts: pa.Table | None
    """Changed parts of documents in parts: `row` of the change, `part`, `place` (NULL: unchanged) and
    `state` (NULL: the part was removed); None if no such document changed."""
    routes: pa.Table | None
    """`offset` and `key`; None if an event's stream is its document."""
    failures: Sequence[Mapping[str, Any]]
    invariant_transitions: Sequence[Mapping[str, Any]]
    upcasts: Sequence[Mapping[str, Any]]
    """Upcast events: `offset`, `stream`, `type`, `version` and `data`, as texts."""
    reads: Sequence[Mapping[str, Any]]
    """Reads of clocks, random numbers and the like: `offset`, `key` (None while the keys of the event
    were computed), and `read`, a list of names; empty unless the worker was told to watch."""
    printed: Sequence[Mapping[str, Any]]
    """Text on standard output and standard error: `offset`, `key`, `place` of the key among those of
    its event (None and -1 while the keys were computed), and `text`."""
    unhandled_by_type: Mapping[str, int]
    """Number of events without a handler, by type."""
    calls: pa.Table | None
    """Calls answered from recordings: `offset`, `key`, `ordinal`, `call` (number of the recording) and
    `decision`; None if there are none."""
    call_decisions: Sequence[Mapping[str, Any]]
    """Decisions on all other calls."""

    @property
    def state_bytes(self) -> int:
        """Bytes of all states and parts in the result."""
        tables = [self.changes] if self.parts is None else [self.changes, self.parts]
        return sum(int(table["state"].nbytes) for table in tables)

    def reads_at(self, offset: int) -> Sequence[str]:
        """Return the names in `reads` at an event."""
        return [name for one in self.reads if one["offset"] == offset for name in one["read"]]


def decode_batch_result(
    frame: Frame, sent_events: pa.Table, *, is_routed: bool | None = None
) -> BatchResult:
    """Decode the result of one worker for the events that it was sent (`offset` and `stream`).

    `is_routed` is what the worker reported when it was ready. Raises `BrokenFrameError` if the result
    contradicts it, the events, or itself.
    """
    try:
        return _decode_frame(frame, sent_events, is_routed=is_routed)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise BrokenFrameError("columns that contradict each other") from error
    except pa.ArrowException as error:
        raise BrokenFrameError("columns that contradict each other") from error


def _decode_frame(frame: Frame, events: pa.Table, *, is_routed: bool | None) -> BatchResult:
    header = frame.header
    if is_routed is not None and header["routed"] is not is_routed:
        raise BrokenFrameError("keys in only some of its frames")
    is_routed = header["routed"]
    if header["count"] != events.num_rows:
        raise BrokenFrameError(
            f"a result of {header['count']:,} events for a batch of {events.num_rows:,}"
        )
    _check_parts(frame)
    _check_offsets(header, events)
    offsets, streams = (event_frame.get_column(events, name) for name in ("offset", "stream"))
    rows = _decode_numbers(frame.parts[0], np.int32)
    _check_order(rows.to_numpy(), len(offsets))
    lengths = np.frombuffer(frame.parts[1], np.int32)
    columns = {
        "offset": offsets.take(rows),
        "key": _decode_coded_texts(*frame.parts[4:6]) if is_routed else streams.take(rows),
        "state": _decode_texts(lengths, frame.parts[2]),
        "previous": _decode_numbers(frame.parts[3], np.int64),
        "in_parts": pa.array(lengths == 0),  # no JSON text is empty
    }
    routes = None
    if is_routed:
        columns["place"] = _decode_numbers(frame.parts[9], np.int32)
        reached = offsets.take(_decode_numbers(frame.parts[6], np.int32))
        places = _decode_numbers(frame.parts[10], np.int32)
        routes = pa.table(
            {"offset": reached, "key": _decode_coded_texts(*frame.parts[7:9]), "place": places}
        )
    return BatchResult(
        pa.table(columns),
        _decode_parts(_part_blobs(frame, is_routed=is_routed), len(rows)),
        routes,
        header["failures"],
        header["turns"],
        header["upcasts"],
        header["reads"],
        _add_printed_keys(header["printed"], events, routes),
        header["skipped"],
        _decode_calls(frame, offsets),
        [*header["decided"], *header.get("attempts", ())],
    )


def check_numbers(result: BatchResult, first: int, resumed: int) -> int:
    """Return the number of the change after these; `first` is the number of the first of them.

    `resumed` is the highest number of a change that the worker was given to resume from. Raises
    `BrokenFrameError` if a change refers to a previous change that neither precedes it nor was given.
    """
    previous = result.changes["previous"].to_numpy()
    numbers = np.maximum(np.arange(first, first + len(previous)), resumed + 1)
    if (previous < -1).any() or (previous >= numbers).any():
        raise BrokenFrameError("a change whose previous change comes later")
    return first + len(previous)


def _check_parts(frame: Frame) -> None:
    """Raise `BrokenFrameError` if the number of parts contradicts the header."""
    expected = _ROUTED_PARTS if frame.header["routed"] else _UNROUTED_PARTS
    expected += _CALL_PARTS if frame.header["called"] else 0
    if len(frame.parts) not in (expected, expected + _IN_PARTS):
        raise BrokenFrameError(
            f"a batch result with {len(frame.parts)} parts instead of {expected}"
            f" or {expected + _IN_PARTS}"
        )


def _check_offsets(header: Mapping[str, Any], events: pa.Table) -> None:
    """Raise `BrokenFrameError` if the header reports on an event that isn't in the batch."""
    known: frozenset[int] | None = None
    for name in ("failures", "turns", "upcasts", "reads", "printed", "decided"):
        if header[name] and known is None:
            known = frozenset(events["offset"].to_pylist())
        for one in header[name]:
            if one["offset"] >= 0 and one["offset"] not in (known or ()):
                raise BrokenFrameError(f"{name} of an event that isn't in its batch")
        if name in ("turns", "upcasts") and any(one["offset"] < 0 for one in header[name]):
            raise BrokenFrameError(f"{name} without an event")


def _check_order(rows: IntegerArray, events: int) -> None:
    """Raise `BrokenFrameError` if changes are not in the order of the log."""
    if len(rows) and (rows[0] < 0 or rows[-1] >= events or (np.diff(rows) < 0).any()):
        raise BrokenFrameError("changes that are not in the order of the events")


def _add_printed_keys(
    printed: Sequence[Mapping[str, Any]], events: pa.Table, routes: pa.Table | None
) -> Sequence[Mapping[str, Any]]:
    """Return printed texts with the keys of the documents whose handlers printed them."""
    if not printed:
        return ()
    printed_offsets = pa.array({one["offset"] for one in printed}, pa.int64())
    key_source = events if routes is None else routes
    rows = key_source.filter(pc.is_in(key_source["offset"], printed_offsets)).to_pylist()
    names = "key" if routes is not None else "stream"
    keys = {(row["offset"], row.get("place", 0)): row[names] for row in rows}
    return [{**one, "key": keys.get((one["offset"], one["place"]))} for one in printed]


_UNROUTED_PARTS = 4
"""Number of parts of a frame without keys."""
_ROUTED_PARTS = 11
_IN_PARTS = 7
"""Number of further parts of a frame if documents in parts changed."""
_CALL_PARTS = 6
"""Number of further parts, at the end, of a frame with answered calls."""


def _part_blobs(frame: Frame, *, is_routed: bool) -> Sequence[bytes]:
    """Return the parts of a frame that describe changes in documents in parts."""
    end = len(frame.parts) - (_CALL_PARTS if frame.header["called"] else 0)
    return frame.parts[_ROUTED_PARTS if is_routed else _UNROUTED_PARTS : end]


def _decode_calls(frame: Frame, offsets: pa.Array) -> pa.Table | None:
    if not frame.header["called"]:
        return None
    rows, ordinals, numbers, commands, names, codes = frame.parts[-_CALL_PARTS:]
    command = pa.array(np.frombuffer(commands, np.int8) == 1)
    return pa.table(
        {
            "offset": offsets.take(_decode_numbers(rows, np.int32)),
            "key": _decode_coded_texts(names, codes),
            "ordinal": _decode_numbers(ordinals, np.int32),
            "call": _decode_numbers(numbers, np.int64),
            "decision": pc.if_else(command, "suppressed", "recorded"),
        }
    )


def _decode_parts(blobs: Sequence[bytes], changes: int) -> pa.Table | None:
    if not blobs:
        return None
    rows, paths, placed, depths, numbers, lengths, texts = blobs
    _check_order(np.frombuffer(rows, np.int32), changes)
    depth = np.full(len(rows) // 4, -1, np.int32)
    depth_given = np.frombuffer(depths, np.int32)
    if (depth_given < 0).any() or int(depth_given.sum(dtype=np.int64)) * 8 != len(numbers):
        raise BrokenFrameError("positions of parts that do not match the parts")
    if (np.frombuffer(placed, np.int32) < 0).any():
        raise BrokenFrameError("positions of parts that do not match the parts")
    depth[np.frombuffer(placed, np.int32)] = np.frombuffer(depths, np.int32)
    ends = np.concatenate([[0], np.cumsum(np.maximum(depth, 0))]).astype(np.int32)
    part_places = pa.ListArray.from_arrays(
        pa.array(ends), _decode_numbers(numbers, np.int64), mask=pa.array(depth < 0)
    )
    return pa.table(
        {
            "row": pa.array(np.frombuffer(rows, np.int32).astype(np.int64)),
            "part": pa.array(paths.decode().split("\0"), pa.large_string()),
            "place": part_places,
            "state": _decode_texts(np.frombuffer(lengths, np.int32), texts),
        }
    )


class BatchMerger:
    """Merges the results of several workers for the same batches."""

    def __init__(self, worker_count: int, first_change: int) -> None:
        """`first_change` is the number of the next change; each worker numbers its changes from there."""
        self._first_change = first_change
        self._next_change = first_change
        self._numbers_by_worker = [_GrowingArray() for _ in range(worker_count)]
        """For each worker, the merged numbers of its own changes."""

    def merge_results(self, results: Sequence[BatchResult]) -> BatchResult:
        """Return the result of a batch as a single worker would have reported it."""
        changes = pa.concat_tables([part.changes for part in results])
        order = _log_order(changes)
        numbers = np.empty(len(order), np.int64)
        numbers[order] = np.arange(self._next_change, self._next_change + len(order))
        self._next_change += len(order)
        previous, at = [], 0
        for part, own_numbers in zip(results, self._numbers_by_worker, strict=True):
            own_numbers.extend(numbers[at : at + part.changes.num_rows])
            at += part.changes.num_rows
            before = part.changes["previous"].to_numpy().copy()
            own_numbers.check(before - self._first_change)
            own = before >= self._first_change
            before[own] = own_numbers.take(before[own] - self._first_change)
            previous.append(before)
        column_index = changes.schema.get_field_index("previous")
        changes = changes.set_column(column_index, "previous", pa.array(np.concatenate(previous)))
        routes = [part.routes for part in results if part.routes is not None]
        merged_routes = pa.concat_tables(routes) if routes else None
        return BatchResult(
            changes.take(pa.array(order)).combine_chunks(),
            _renumber_parts(results, order),
            merged_routes
            and merged_routes.take(pa.array(_log_order(merged_routes))).combine_chunks(),
            _sort_by_offset([failure for part in results for failure in part.failures]),
            _sort_by_offset([turn for part in results for turn in part.invariant_transitions]),
            _sort_by_offset([upcast for part in results for upcast in part.upcasts]),
            _sort_by_offset([read for part in results for read in part.reads]),
            [
                text
                for number, part in enumerate(results)
                for text in part.printed
                if number == 0
                or text["place"] >= 0  # all workers compute the keys, and print the same
            ],
            _sum_counts([part.unhandled_by_type for part in results]),
            _merge_calls([part.calls for part in results if part.calls is not None]),
            _sort_by_offset([one for part in results for one in part.call_decisions]),
        )


def _merge_calls(tables: Sequence[pa.Table]) -> pa.Table | None:
    if not tables:
        return None
    return pa.concat_tables(tables).sort_by([("offset", "ascending"), ("ordinal", "ascending")])


def _renumber_parts(results: Sequence[BatchResult], order: IntegerArray) -> pa.Table | None:
    """Return the parts of all documents, with `row` in the merged order of the changes."""
    new_rows = np.empty(len(order), np.int64)
    new_rows[order] = np.arange(len(order))
    tables, first = [], 0
    for one in results:
        if one.parts is not None:
            rows = new_rows[first + one.parts["row"].to_numpy()]
            tables.append(one.parts.set_column(0, "row", pa.array(rows)))
        first += one.changes.num_rows
    return pa.concat_tables(tables).sort_by("row") if tables else None


class _GrowingArray:
    """An array of numbers that can grow at its end."""

    def __init__(self) -> None:
        self._buffer = np.empty(1024, np.int64)
        self._count = 0

    def extend(self, numbers: IntegerArray) -> None:
        needed = self._count + len(numbers)
        if needed > len(self._buffer):
            wider = np.empty(2 * needed, np.int64)
            wider[: self._count] = self._buffer[: self._count]
            self._buffer = wider
        self._buffer[self._count : needed] = numbers
        self._count = needed

    def check(self, indexes: IntegerArray) -> None:
        """Raise `BrokenFrameError` if an index is beyond the end."""
        if (indexes >= self._count).any():
            raise BrokenFrameError("a change whose previous change comes later")

    def take(self, indexes: IntegerArray) -> IntegerArray:
        return self._buffer[: self._count][indexes]


def _log_order(rows: pa.Table) -> IntegerArray:
    """Return the order of the log; the changes of one event in the order of its keys."""
    offsets = rows["offset"].to_numpy()
    if "place" not in rows.column_names:
        return np.argsort(offsets, kind="stable")
    return np.lexsort((rows["place"].to_numpy(), offsets))


def _sort_by_offset(reports: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(reports, key=lambda one: int(one["offset"]))


def _sum_counts(counts: Sequence[Mapping[str, int]]) -> Mapping[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


def _decode_numbers(data: bytes, kind: Any) -> pa.Array:
    return pa.array(np.frombuffer(data, dtype=kind))


def _decode_coded_texts(names: bytes, codes: bytes) -> pa.Array:
    coded = np.frombuffer(codes, np.int32)
    known = json.loads(names)
    if len(coded) and (coded.min() < 0 or coded.max() >= len(known)):
        raise BrokenFrameError("codes of keys that it doesn't list")
    return pa.array(known, pa.string()).take(pa.array(coded))


def _decode_texts(lengths: Any, data: bytes) -> pa.Array:
    """Return JSON texts of these lengths from a blob; length -1 is NULL, 0 a state in parts."""
    ends = np.cumsum(np.maximum(lengths, 0), dtype=np.int64)
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    if offsets[-1] != len(data) or (lengths < -1).any():
        raise BrokenFrameError("states whose lengths don't add up")
    texts = pa.LargeStringArray.from_buffers(
        len(lengths), pa.py_buffer(offsets), pa.py_buffer(data)
    )
    texts.validate(full=True)
    _check_json(memoryview(data), offsets.tolist())
    missing = lengths < 0
    return pc.if_else(pa.array(~missing), texts, None) if missing.any() else texts


def _check_json(data: memoryview, offsets: list[int]) -> None:
    """Raise `BrokenFrameError` if a state isn't one JSON value."""
    decode = _JSON.decode
    try:
        for first, last in pairwise(offsets):
            if first != last:
                decode(data[first:last])
    except msgspec.DecodeError as error:
        raise BrokenFrameError("a state that isn't JSON") from error


_JSON = msgspec.json.Decoder(type=msgspec.Raw)
"""Parses a value to its end without building it."""
