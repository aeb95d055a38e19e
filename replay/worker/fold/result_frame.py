"""The frame of a batch result: the columns of a fold's changes as bytes, and texts packed into one blob.

The parent decodes the frame in `replay.worker_host.batch_result`.
"""

from __future__ import annotations

import json
import struct
from array import array
from typing import Any, Dict, Iterator, List, Optional, Tuple

from ..environment.calls import CallColumns
from .result import PartColumns, ResultColumns


def encode_result(
    result: ResultColumns, calls: CallColumns, *, is_routed: bool
) -> Tuple[Dict[str, Any], List[Any]]:
    """Return the header and the parts of the frame of a batch result."""
    header = {
        "kind": "folded",
        "failures": result.failures,
        "turns": result.invariant_transitions,
        "skipped": result.unhandled_by_type,
        "upcasts": result.upcasts,
        "decided": calls.call_decisions,
        "called": len(calls.recording_numbers),
    }
    parts: List[Any] = [
        _pack_numbers("i", result.event_rows),
        _pack_lengths(result.states),
        _join_texts(result.states),
        _pack_numbers("q", result.previous_changes),
    ]
    if is_routed:
        parts += _encode_routes(result)
    if result.part_columns.paths:
        parts += _encode_document_parts(result.part_columns)
    if calls.recording_numbers:
        parts += _encode_calls(calls)
    return header, parts


def _encode_routes(result: ResultColumns) -> List[Any]:
    return [
        *_encode_coded_texts(result.keys),
        result.route_rows,
        *_encode_coded_texts(result.route_keys),
        result.key_places,
        result.route_places,
    ]


def _encode_document_parts(columns: PartColumns) -> List[Any]:
    return [
        _pack_numbers("i", columns.change_rows),
        "\0".join(columns.paths).encode(),  # NUL is in no path
        columns.placed_rows,
        columns.depths,
        columns.place_numbers,
        _pack_lengths(columns.states),
        _join_texts(columns.states),
    ]


def _encode_calls(calls: CallColumns) -> List[Any]:
    return [
        calls.event_rows,
        calls.ordinals,
        calls.recording_numbers,
        calls.command_flags,
        *_encode_coded_texts(calls.keys),
    ]


def _pack_numbers(kind: str, numbers: List[int]) -> bytes:
    """Return the bytes of `array(kind, numbers)`; `struct` takes half the time of `array`."""
    return struct.pack("%d%s" % (len(numbers), kind), *numbers)


def _pack_lengths(texts: List[Optional[bytes]]) -> Any:
    """Return the length of each text in bytes; -1 for None."""
    try:
        return array("i", map(len, texts))  # type: ignore[arg-type]
    except TypeError:
        return array("i", [-1 if text is None else len(text) for text in texts])


def _join_texts(texts: List[Optional[bytes]]) -> bytes:
    try:
        return b"".join(texts)  # type: ignore[arg-type]
    except TypeError:
        return b"".join([text for text in texts if text is not None])


def split_texts(lengths: bytes, blob: bytes) -> Iterator[Optional[bytes]]:
    """Yield the texts in a blob by their lengths; None for a length of -1."""
    numbers = array("i")
    numbers.frombytes(lengths)
    at = 0
    for length in numbers:
        yield None if length < 0 else blob[at : at + length]
        at += max(length, 0)


def _encode_coded_texts(texts: List[Any]) -> List[Any]:
    """Return the JSON list of the distinct texts, and an array with the index of each text in it."""
    codes: Dict[str, int] = {}
    numbers = array("i", [codes.setdefault(text, len(codes)) for text in texts])
    return [json.dumps(list(codes)).encode(), numbers]
