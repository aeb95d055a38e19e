"""Sorted offsets, eight bytes each: what a search or a filter of events finds."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Offsets = array  # of "q"
"""Ascending, each once."""


def pack_offsets(numbers: "Iterable[int] | bytes" = ()) -> "Offsets[int]":
    """Offsets from numbers that are sorted, or from their bytes as int64."""
    if isinstance(numbers, bytes):
        packed = array("q")
        packed.frombytes(numbers)
        return packed
    return array("q", numbers)


def count_before(offset_set: "Offsets[int]", offset: int) -> int:
    """How many come before this offset."""
    return bisect_left(offset_set, offset)


def count_through(offset_set: "Offsets[int]", offset: int) -> int:
    """How many come before this offset or at it."""
    return bisect_right(offset_set, offset)


def contains_offset(offset_set: "Offsets[int]", offset: int) -> bool:
    """Whether this offset is among them."""
    index = bisect_left(offset_set, offset)
    return index < len(offset_set) and offset_set[index] == offset
