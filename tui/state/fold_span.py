"""How much of the log is to be folded around the cursor: all of it, if that can be done.

A query over all events that says nothing of its documents is asked after each event by itself, so
only those around the cursor are.
"""

from replay.history.catalogue import Folded
from replay.projection.declaration import over_all_events
from replay.projection.reference import Reference
from replay.projection.span import Span

_BEFORE = 10
_BEHIND = 30
_QUICK = 100_000
"""Events up to which a question takes so little that those before the cursor can come first."""


class Surroundings:
    """What is wanted of the projection that is looked at."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._asked = False
        self.position = events - 1

    def look_at(self, wanted: Reference) -> None:
        """Look at this projection; reads its file."""
        self._asked = over_all_events(wanted.text)

    @property
    def span(self) -> Span | None:
        """What is to be folded now; None: everything."""
        if not self._asked:
            return None
        last = min(self.position + _BEHIND, self._events - 1)
        before = _BEFORE if self._events <= _QUICK else 0
        return Span(max(self.position - before, 0), last)

    def done(self, folded: Folded) -> bool:
        """Whether enough of it is folded."""
        if not self._asked:
            return folded.folded >= self._events
        return folded.covers(Span(0, self._events - 1)) or folded.knows(self.position)
