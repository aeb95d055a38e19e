"""The view state: what the screen shows, held once. Only the screen's thread changes it.

Panes and controllers observe it. A change replaces immutable values as a whole, so a thread that has
taken `data` keeps consistent data.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto

from storage.log.event_log import LogExtent
from storage.log.positions import START
from storage.timelines.fork_store import Fork
from tui.state.history_view import HistoryView
from tui.state.shown_data import ShownData
from tui.state.snapshot import LateDetails, Snapshot
from tui.state.timeline_view import TimelineView


class ViewChange(Enum):
    """What has changed in a view state."""

    POSITION = auto()
    DOCUMENT = auto()
    """The selected document, or whether it is pinned."""
    BASE = auto()
    TIMELINE = auto()
    """Another timeline is shown; history, base and snapshot belong to the one before."""
    LOG = auto()
    """The log has more events."""
    HISTORY = auto()
    """Another history, or one with more folded events."""
    SNAPSHOT = auto()
    """The snapshot of the position has arrived."""
    PANE = auto()
    """Other panes are open."""


class LowerPane(Enum):
    """The pane below the others."""

    NONE = auto()
    RESULTS = auto()
    PLOT = auto()


@dataclass(frozen=True)
class View:
    """What the screen shows. Immutable."""

    data: ShownData
    position: int = START
    key: str | None = None
    """The selected document."""
    is_pinned: bool = False
    """The selected document stays selected, whatever events change."""
    base: int | None = None
    """The position that documents are compared with; None: the previous event."""
    lower_pane: LowerPane = LowerPane.NONE
    is_code_open: bool = False


class ViewState:
    """The current view, and its snapshot."""

    def __init__(self, timeline: TimelineView) -> None:
        self.view = View(ShownData(timeline))
        self.snapshot: Snapshot | None = None
        """The snapshot shown last; it may belong to an earlier position."""
        self.late_details: LateDetails | None = None
        """The late details shown last; they may belong to an earlier snapshot."""
        self._observers: defaultdict[ViewChange, list[Callable[[], object]]] = defaultdict(list)

    @property
    def data(self) -> ShownData:
        """The timeline and the history."""
        return self.view.data

    @property
    def position(self) -> int:
        return self.view.position

    @property
    def key(self) -> str | None:
        """The selected document."""
        return self.view.key

    def observe(self, observer: Callable[[], object], *kinds: ViewChange) -> None:
        """Call an observer after each change of these kinds, in the order of registration."""
        for kind in kinds:
            self._observers[kind].append(observer)

    def move_to(self, position: int) -> None:
        """Move to a position; positions outside the log become the nearest one."""
        inside = max(START, min(position, self.data.timeline.last_position))
        self._change(ViewChange.POSITION, position=inside)

    def select_document(self, key: str, *, pin: bool = True) -> None:
        """Select a document; with `pin` it stays selected."""
        self._change(ViewChange.DOCUMENT, key=key, is_pinned=pin or self.view.is_pinned)

    def set_pinned(self, pinned: bool) -> None:
        """Pin the selected document, or select the documents that events change."""
        self._change(ViewChange.DOCUMENT, is_pinned=pinned)

    def set_base(self, base: int | None) -> None:
        """Compare documents with a position; None: with the previous event."""
        self._change(ViewChange.BASE, base=base)

    def unpin(self) -> bool:
        """Select the documents that events change; return whether one was pinned."""
        was_pinned = self.view.is_pinned
        if was_pinned:
            self.set_pinned(False)
        return was_pinned

    def clear_base(self) -> bool:
        """Compare with the previous event again; return whether there was a base."""
        had_base = self.view.base is not None
        if had_base:
            self.set_base(None)
        return had_base

    def show_lower_pane(self, pane: LowerPane) -> None:
        """Open a pane below the others, or close it."""
        self._change(ViewChange.PANE, lower_pane=pane)

    def show_code(self, is_open: bool) -> None:
        """Open or close the code pane."""
        self._change(ViewChange.PANE, is_code_open=is_open)

    def show_timeline(self, timeline: TimelineView, position: int) -> None:
        """Show another timeline at a position, without a history yet."""
        last = timeline.last_position
        self._change(
            ViewChange.TIMELINE,
            data=ShownData(timeline),
            position=max(START, min(position, last)),
            base=None,
        )

    def show_history(self, history: HistoryView | None) -> None:
        """Show a history on the current timeline."""
        self._change(ViewChange.HISTORY, data=replace(self.data, history_view=history))

    def extend_log(self, extent: LogExtent) -> None:
        """Show a log that has grown."""
        timeline = self.data.timeline.with_extent(extent)
        self._change(ViewChange.LOG, data=replace(self.data, timeline=timeline))

    def set_forks(self, forks: Sequence[Fork]) -> None:
        """Take over the known forks; nothing that is shown changes."""
        timeline = self.data.timeline.with_forks(forks)
        self.view = replace(self.view, data=replace(self.data, timeline=timeline))

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Take over a snapshot, with the document that it selected."""
        self.snapshot = snapshot
        self._change(ViewChange.SNAPSHOT, key=snapshot.key)

    def _change(self, kind: ViewChange, **changes: object) -> None:
        self.view = replace(self.view, **changes)  # type: ignore[arg-type]
        for observer in self._observers[kind]:
            observer()
