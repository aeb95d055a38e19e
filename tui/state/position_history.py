"""Where one has been: jumps, to go back over and forward again."""

from dataclasses import dataclass, field

_KEPT = 500


@dataclass
class PositionHistory:
    """A history of positions, as a browser keeps one of pages."""

    _before: list[int] = field(default_factory=list)
    _after: list[int] = field(default_factory=list)

    def record_jump(self, position: int) -> None:
        """A jump away from a position; a way forward that there was is given up."""
        if not self._before or self._before[-1] != position:
            self._before.append(position)
            del self._before[:-_KEPT]
        self._after.clear()

    def back(self, position: int) -> int | None:
        """The position before the last jump."""
        return self._turn(self._before, self._after, position)

    def forward(self, position: int) -> int | None:
        """The position that `back` left."""
        return self._turn(self._after, self._before, position)

    @staticmethod
    def _turn(one: list[int], other: list[int], position: int) -> int | None:
        if not one:
            return None
        other.append(position)
        return one.pop()
