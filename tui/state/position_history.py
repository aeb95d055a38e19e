"""The history of jumps, to go back and forward in."""

from dataclasses import dataclass, field

_KEPT = 500


@dataclass
class PositionHistory:
    """A history of positions, like a browser's history of pages."""

    _before: list[int] = field(default_factory=list)
    _after: list[int] = field(default_factory=list)

    def record_jump(self, position: int) -> None:
        """Record a jump from a position; this clears the forward history."""
        if not self._before or self._before[-1] != position:
            self._before.append(position)
            del self._before[:-_KEPT]
        self._after.clear()

    def back(self, position: int) -> int | None:
        """Return the position before the last jump; None without one."""
        return self._turn(self._before, self._after, position)

    def forward(self, position: int) -> int | None:
        """Return the position that `back` left; None without one."""
        return self._turn(self._after, self._before, position)

    @staticmethod
    def _turn(one: list[int], other: list[int], position: int) -> int | None:
        if not one:
            return None
        other.append(position)
        return one.pop()
