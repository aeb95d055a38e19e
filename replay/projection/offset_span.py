"""The stretch of the log over which all states of a projection are wanted."""

from dataclasses import dataclass

from storage.log.positions import START


@dataclass(frozen=True)
class OffsetSpan:
    """Events by their offsets, both included; the states before the first belong to it."""

    first: int
    last: int

    @property
    def position_before(self) -> int:
        """The position before its first event."""
        return max(self.first - 1, START)
