"""The part of the log to fold: all of it, or for some projections the events around the position.

A query over all events is evaluated separately after each event, so only the events around the
position are folded.
"""

from dataclasses import dataclass

from replay.history.catalogue import FoldRecord
from replay.projection.offset_span import OffsetSpan

_EVENTS_BEFORE = 10
_EVENTS_AFTER = 30
_WHOLE_LOG_EVENTS = 100_000
"""Log length up to which events before the position are folded too, because a query is quick."""


@dataclass(frozen=True)
class FoldSpan:
    """The span to fold of the shown projection."""

    events: int
    """Events of the log."""
    is_over_all_events: bool = False
    """Whether the projection is a query over all events."""

    def span_around(self, position: int) -> OffsetSpan | None:
        """Return the offsets to fold for a position; None: the whole log."""
        if not self.is_over_all_events:
            return None
        last = min(position + _EVENTS_AFTER, self.events - 1)
        before = _EVENTS_BEFORE if self.events <= _WHOLE_LOG_EVENTS else 0
        return OffsetSpan(max(position - before, 0), last)

    def is_complete(self, folded: FoldRecord, position: int) -> bool:
        """Return whether enough is folded for a position."""
        if not self.is_over_all_events:
            return folded.next_offset >= self.events
        return folded.covers(OffsetSpan(0, self.events - 1)) or folded.has_states_at(position)
