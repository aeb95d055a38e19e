"""Paging through a document's changes, so memory doesn't grow with their number."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

_MIN_PAGE_CHANGES = 64
"""A page has at least this many changes, whatever their size."""
_MAX_PAGE_BYTES = 16_000_000
"""The bytes of states in a larger page."""


def split_changes(
    offsets: Sequence[int],
    after_offset: int,
    average_bytes_from: Callable[[int], float],
    *,
    backwards: bool,
) -> Iterator[dict[str, int]]:
    """Yield pages of changes: the offsets of the `first` and `last` change, and of the one `before`.

    `offsets` are those of all changes, ascending; the pages cover those after `after_offset`.
    `average_bytes_from` returns the average size in bytes of the states from an offset on.
    """
    begin, end = bisect_right(offsets, after_offset), len(offsets)
    size = _MIN_PAGE_CHANGES
    if end - begin > _MIN_PAGE_CHANGES:
        size = max(
            _MIN_PAGE_CHANGES,
            int(_MAX_PAGE_BYTES / max(average_bytes_from(offsets[-_MIN_PAGE_CHANGES]), 1)),
        )
    starts = range(begin, end, size)
    for first in reversed(starts) if backwards else starts:
        yield {
            "before": offsets[max(first - 1, 0)],
            "first": offsets[first],
            "last": offsets[min(first + size, end) - 1],
        }
