"""The part of the log to fold: all of it, or for some projections the events around the position.

A query over all events is evaluated separately after each event, so only the events around the
position are folded.
"""

from replay.history.catalogue import FoldRecord
from replay.projection.declaration import is_over_all_events
from replay.projection.offset_span import OffsetSpan
from replay.projection.projection_reference import Reference

_EVENTS_BEFORE = 10
_EVENTS_AFTER = 30
_WHOLE_LOG_EVENTS = 100_000
"""Log length up to which events before the position are folded too, because a query is quick."""


class FoldSpan:
    """The span to fold of the shown projection."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._asked = False
        self.position = events - 1

    def set_projection(self, wanted: Reference) -> None:
        """Set the shown projection; reads its file."""
        self._asked = is_over_all_events(wanted.text)

    @property
    def span(self) -> OffsetSpan | None:
        """The offsets to fold now; None: the whole log."""
        if not self._asked:
            return None
        last = min(self.position + _EVENTS_AFTER, self._events - 1)
        before = _EVENTS_BEFORE if self._events <= _WHOLE_LOG_EVENTS else 0
        return OffsetSpan(max(self.position - before, 0), last)

    def is_complete(self, folded: FoldRecord) -> bool:
        """Return whether enough is folded for the current position."""
        if not self._asked:
            return folded.next_offset >= self._events
        return folded.covers(OffsetSpan(0, self._events - 1)) or folded.has_states_at(self.position)
