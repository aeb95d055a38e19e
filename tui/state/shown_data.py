"""The data behind the screen: one timeline and one history, swapped as a whole.

A query takes the `ShownData` of the moment at which it starts, so it never mixes two histories.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from replay.history.history import DocumentRow, History
from storage.log.event_log import EventLog, LogExtent
from storage.timelines.forked_workspace import ForkedWorkspace, as_fork
from storage.workspace.workspace import Workspace
from tui.state.history_view import HistoryView
from tui.state.timeline_view import TimelineView


@dataclass(frozen=True, eq=False)
class ShownData:
    """The timeline and the history that the screen shows. Immutable; for any thread."""

    timeline: TimelineView
    history_view: HistoryView | None = None

    @property
    def workspace(self) -> Workspace:
        return self.timeline.workspace

    @property
    def fork(self) -> ForkedWorkspace | None:
        """The timeline as a fork; None if it is the log itself."""
        workspace = self.timeline.workspace
        return as_fork(workspace)

    @property
    def log(self) -> EventLog:
        return self.timeline.log

    @property
    def extent(self) -> LogExtent:
        return self.timeline.extent

    @property
    def history(self) -> History | None:
        return None if self.history_view is None else self.history_view.history

    @property
    def is_folded_to_end(self) -> bool:
        """Whether the history reaches the end of the log."""
        history = self.history
        return history is not None and history.fold_record.next_offset >= self.extent.event_count

    @property
    def fork_names(self) -> set[str]:
        """The names of all forks."""
        return {fork.name for fork in self.timeline.timelines}

    def position_label(self, position: int) -> str:
        """Return a position as shown: `1,204`, `900+1`, `start`."""
        return self.timeline.position_label(position)

    def document_rows(self, first: int, count: int) -> Sequence[DocumentRow]:
        """Return documents in order of creation."""
        return [] if self.history is None else self.history.documents(first, count)
