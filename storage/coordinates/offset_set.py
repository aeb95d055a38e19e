"""Sorted offsets, eight bytes each: the result of a search or a filter over events."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Offsets = array  # of "q"
"""Offsets in ascending order, without duplicates."""


def pack_offsets(numbers: "Iterable[int] | bytes" = ()) -> "Offsets[int]":
    """Return offsets from sorted numbers, or from their bytes as int64."""
    if isinstance(numbers, bytes):
        packed = array("q")
        packed.frombytes(numbers)
        return packed
    return array("q", numbers)


def count_before(offset_set: "Offsets[int]", offset: int) -> int:
    """Return how many offsets of the set are less than `offset`."""
    return bisect_left(offset_set, offset)


def count_through(offset_set: "Offsets[int]", offset: int) -> int:
    """Return how many offsets of the set are less than or equal to `offset`."""
    return bisect_right(offset_set, offset)


def contains_offset(offset_set: "Offsets[int]", offset: int) -> bool:
    """Return whether the set contains `offset`."""
    index = bisect_left(offset_set, offset)
    return index < len(offset_set) and offset_set[index] == offset
