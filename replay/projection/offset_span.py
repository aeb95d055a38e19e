"""The stretch of the log for which the states of a projection are needed."""

from dataclasses import dataclass

from storage.log.positions import START


@dataclass(frozen=True)
class OffsetSpan:
    """Events from `first` to `last`, both included, and the states at the position before them."""

    first: int
    last: int

    @property
    def position_before(self) -> int:
        """The position before its first event."""
        return max(self.first - 1, START)
