"""A document's changes a page at a time, so that what is held doesn't grow with how many there are."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

_MIN_PAGE_CHANGES = 64
"""Changes that are held at once in any case."""
_MAX_PAGE_BYTES = 16_000_000
"""Of states that are held at once."""


def split_changes(
    offsets: Sequence[int],
    after_offset: int,
    average_bytes_from: Callable[[int], float],
    *,
    backwards: bool,
) -> Iterator[dict[str, int]]:
    """Stretches of the log: the offsets of their `first` and `last` change, and that of the one `before`.

    `offsets` are those of all changes, in order; those behind `after` are gone through. `length` says how
    many bytes states have on average from an offset on.
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
