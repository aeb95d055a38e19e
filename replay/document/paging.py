"""A document's changes a page at a time, so that what is held doesn't grow with how many there are."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence

_FEW = 64
"""Changes that are held at once in any case."""
_MOST_BYTES = 16_000_000
"""Of states that are held at once."""


def pages(
    offsets: Sequence[int],
    after: int,
    length: Callable[[int], float],
    *,
    backwards: bool,
) -> Iterator[dict[str, int]]:
    """Stretches of the log: the offsets of their `first` and `last` change, and that of the one `before`.

    `offsets` are those of all changes, in order; those behind `after` are gone through. `length` says how
    many bytes states have on average from an offset on.
    """
    begin, end = bisect_right(offsets, after), len(offsets)
    size = _FEW
    if end - begin > _FEW:
        size = max(_FEW, int(_MOST_BYTES / max(length(offsets[-_FEW]), 1)))
    starts = range(begin, end, size)
    for first in reversed(starts) if backwards else starts:
        yield {
            "before": offsets[max(first - 1, 0)],
            "first": offsets[first],
            "last": offsets[min(first + size, end) - 1],
        }
