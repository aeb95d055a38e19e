"""How much of the log is to be folded around the cursor: all of it, if that can be done.

A query over all events that says nothing of its documents is asked after each event by itself, so
only those around the cursor are.
"""

from replay.history.catalogue import FoldRecord
from replay.projection.declaration import is_over_all_events
from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference

_EVENTS_BEFORE = 10
_EVENTS_AFTER = 30
_WHOLE_LOG_EVENTS = 100_000
"""Events up to which a question takes so little that those before the cursor can come first."""


class FoldSpan:
    """What is wanted of the projection that is looked at."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._asked = False
        self.position = events - 1

    def set_projection(self, wanted: Reference) -> None:
        """Look at this projection; reads its file."""
        self._asked = is_over_all_events(wanted.text)

    @property
    def span(self) -> OffsetSpan | None:
        """What is to be folded now; None: everything."""
        if not self._asked:
            return None
        last = min(self.position + _EVENTS_AFTER, self._events - 1)
        before = _EVENTS_BEFORE if self._events <= _WHOLE_LOG_EVENTS else 0
        return OffsetSpan(max(self.position - before, 0), last)

    def is_complete(self, folded: FoldRecord) -> bool:
        """Whether enough of it is folded."""
        if not self._asked:
            return folded.next_offset >= self._events
        return folded.covers(OffsetSpan(0, self._events - 1)) or folded.has_states_at(self.position)
