"""Sorted offsets, eight bytes each: what a search or a filter of events finds."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

Offsets = array  # of "q"
"""Ascending, each once."""


def offsets(numbers: "Iterable[int] | bytes" = ()) -> "Offsets[int]":
    """Offsets from numbers that are sorted, or from their bytes as int64."""
    if isinstance(numbers, bytes):
        made = array("q")
        made.frombytes(numbers)
        return made
    return array("q", numbers)


def place_of(found: "Offsets[int]", offset: int) -> int:
    """How many come before this offset."""
    return bisect_left(found, offset)


def place_after(found: "Offsets[int]", offset: int) -> int:
    """How many come before this offset or at it."""
    return bisect_right(found, offset)


def holds(found: "Offsets[int]", offset: int) -> bool:
    """Whether this offset is among them."""
    place = bisect_left(found, offset)
    return place < len(found) and found[place] == offset
