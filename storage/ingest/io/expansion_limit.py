"""Limit of the ratio by which compressed bytes expand, because a few kilobytes can hold terabytes.

Real logs, however repetitive, compress 50 to 100 times; zeros and zip bombs 1,000 times and more. A
source below the ratio may have any length. The first `WINDOW_BYTES` are read in any case.
"""

from storage.errors import SourceError

MAX_RATIO = 500
WINDOW_BYTES = 256 << 20
"""Expanded bytes over which the ratio is measured."""


class Expansion:
    """The number of packed and expanded bytes of a source in the current window."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._packed = self._expanded = 0

    def count(self, packed: int, expanded: int) -> None:
        """Add bytes; raises `SourceError` if the window expands more than `MAX_RATIO` times."""
        self._packed += packed
        self._expanded += expanded
        if self._expanded < WINDOW_BYTES:
            return
        if self._expanded > MAX_RATIO * self._packed:
            raise SourceError(
                f"{self._name} expands more than {MAX_RATIO} times over {WINDOW_BYTES >> 20} MiB;"
                " no log does that, so nothing of it was loaded. If you trust it, unpack it"
                " yourself and load the result."
            )
        self._packed = self._expanded = 0
