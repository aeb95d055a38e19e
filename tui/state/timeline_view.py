"""One timeline as the screen shows it: its log, its length, the known forks.

A `TimelineView` never changes. A log that has grown, or another timeline, is another value, so a
thread that holds one reads consistent data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from storage.coordinates.event_labels import format_label
from storage.coordinates.position_map import EditMark
from storage.log.event_log import EventDetail, EventLog, EventSummary, LogExtent
from storage.log.positions import START
from storage.timelines import fork_store
from storage.timelines.fork_store import Fork
from storage.timelines.forked_workspace import ForkedWorkspace, as_fork
from storage.workspace.workspace import Workspace
from tui.state.window_cache import WindowCache


@dataclass(frozen=True)
class ListedEvent:
    """An event as the list shows it."""

    position: int
    label: str
    """The position as shown: `1,204`, `900+1`."""
    row: EventSummary | None
    """The event; for a dropped event, the one on the parent."""
    mark: EditMark | None = None
    """How the fork edited it, if it did."""


@dataclass(frozen=True, eq=False)
class TimelineView:
    """A timeline to show, with what is queried once. Its methods may be called from any thread."""

    workspace: Workspace
    extent: LogExtent
    timelines: Sequence[Fork]
    """All forks of the workspace, parents before their children."""
    log: EventLog = field(init=False)
    events: WindowCache[EventDetail] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "log", EventLog(self.workspace))
        object.__setattr__(self, "events", WindowCache(self._load_events))

    @property
    def last_position(self) -> int:
        """The position of the last event; `START` if there are no events."""
        return self.extent.event_count - 1

    def with_extent(self, extent: LogExtent) -> "TimelineView":
        """Return the same timeline after its log has grown."""
        return replace(self, extent=extent)

    def with_forks(self, forks: Sequence[Fork]) -> "TimelineView":
        """Return the same timeline with other known forks."""
        return replace(self, timelines=forks)

    def position_label(self, position: int) -> str:
        """Return a position as shown: `1,204`, `900+1`, `start`."""
        if position == START:
            return "start"
        return format_label(self.workspace.label_at(position))

    def event_rows(self, first: int, count: int) -> Sequence[ListedEvent]:
        """Return one row per position, also for dropped events."""
        last = min(first + count, self.extent.event_count) - 1
        return self._list_events(range(first, last + 1), self.log.read_events(first, count))

    def event_rows_at(self, positions: Sequence[int]) -> Sequence[ListedEvent]:
        """Return the rows of these positions."""
        return self._list_events(positions, self.log.read_events_at(positions))

    def _list_events(
        self, positions: Sequence[int], events: Sequence[EventSummary]
    ) -> list[ListedEvent]:
        known = {event.offset: event for event in events}
        fork = as_fork(self.workspace)
        marks: dict[int, EditMark] = {}
        if fork is not None and positions:
            marks = {mark.position: mark for mark in fork.edit_marks(positions[0], positions[-1])}
            known |= self._dropped_events(fork, [at for at in positions if at not in known])
        return [
            ListedEvent(at, self.position_label(at), known.get(at), marks.get(at))
            for at in positions
        ]

    @staticmethod
    def _dropped_events(
        workspace: ForkedWorkspace, positions: Sequence[int]
    ) -> dict[int, EventSummary]:
        """Return the parent's events at positions that have no event on the fork."""
        on_parent = {
            parent_position: position
            for position in positions
            if (parent_position := workspace.position_map.to_parent(position)) is not None
        }
        rows = EventLog(workspace.parent).read_events_at(sorted(on_parent))
        return {on_parent[row.offset]: row for row in rows}

    def _load_events(self, first: int, last: int) -> dict[int, EventDetail]:
        return {event.offset: event for event in self.log.read_details(first, last - first + 1)}


def query_timeline(workspace: Workspace) -> TimelineView:
    """Query a timeline. Call it in a thread once the screen is open."""
    forks = {fork.name: fork for fork in fork_store.list_forks(workspace)}
    fork = as_fork(workspace)
    if fork is not None:  # it may not be saved yet
        forks[fork.timeline] = fork.fork
    return TimelineView(
        workspace,
        EventLog(workspace).read_extent(),
        fork_store.sort_parents_first([*forks.values()]),
    )
