"""What a person looks for among the events: the matches of a search, and a filter on the list."""

from dataclasses import dataclass

from storage.offsets import Offsets, place_after, place_of


@dataclass(frozen=True)
class Matches:
    """What a search found. Going through it, after the last match comes the first."""

    text: str
    offsets: "Offsets[int]"

    def step(self, position: int, way: int) -> int:
        """The match after a position, or before it."""
        place = place_after(self.offsets, position) if way > 0 else place_of(self.offsets, position) - 1
        return int(self.offsets[place % len(self.offsets)])

    def from_here(self, position: int) -> int:
        """The first match at a position or after it."""
        return int(self.offsets[place_of(self.offsets, position) % len(self.offsets)])


def nearest(offsets: "Offsets[int]", position: int) -> int:
    """The last of these offsets that isn't after the position; else the first of them."""
    return int(offsets[max(place_after(offsets, position) - 1, 0)])
