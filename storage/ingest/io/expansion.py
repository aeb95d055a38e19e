"""Bound on how far compressed bytes expand, because a few kilobytes can claim terabytes.

Real logs, however repetitive, compress 50 to 100 times; zeros and bombs a thousand times and more. A
source may be as long as it likes if it keeps below the ratio; the first stretch is always read.
"""

from storage.errors import SourceError

MAX_RATIO = 500
WINDOW_BYTES = 256 << 20
"""Expanded bytes over which the ratio is taken."""


class Expansion:
    """Count of a source's packed and expanded bytes, over the current window."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._packed = self._expanded = 0

    def count(self, packed: int, expanded: int) -> None:
        """Add bytes; raise `SourceError` if a window expands too far."""
        self._packed += packed
        self._expanded += expanded
        if self._expanded < WINDOW_BYTES:
            return
        if self._expanded > MAX_RATIO * self._packed:
            raise SourceError(
                f"{self._name} expands more than {MAX_RATIO} times over {WINDOW_BYTES >> 20} MiB, as"
                " no log does; nothing of it was loaded. If you trust it, unpack it yourself and"
                " load the result."
            )
        self._packed = self._expanded = 0
