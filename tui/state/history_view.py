"""One projection's history as the screen shows it, with what every step needs.

A `HistoryView` never changes. More folded events, or another projection, are another value, so states
and failures on the screen always come from one history.
"""

from dataclasses import dataclass, field

from replay.history import call_decisions, catalogue
from replay.history.call_decisions import CallDecision
from replay.history.catalogue import FoldRecord
from replay.history.changes import Change, DocumentSnapshot
from replay.history.history import History
from replay.projection.projection_reference import Reference
from storage.coordinates.offset_set import Offsets, contains_offset
from storage.workspace.workspace import Workspace
from tui.state.window_cache import WindowCache

CallsAndReads = tuple[tuple[CallDecision, ...], tuple[str, ...]]
"""The outside calls at an event, and the clocks and random numbers read there."""


class BaseState:
    """The state of one document at the base. One slot, swapped as a whole, so threads may share it."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._slot: tuple[str, int, Change | None] | None = None

    def has(self, key: str, base: int) -> bool:
        """Return whether the state is in memory."""
        slot = self._slot
        return slot is not None and slot[:2] == (key, base)

    def query(self, key: str, base: int) -> Change | None:
        """Return the state; queries the file if it is not in memory."""
        slot = self._slot
        if slot is None or slot[:2] != (key, base):
            slot = self._slot = (key, base, self._history.state_at(key, base))
        return slot[2]


@dataclass(frozen=True, eq=False)
class HistoryView:
    """A history to show. Its methods may be called from any thread."""

    history: History
    failed_offsets: frozenset[int]
    printed_offsets: "Offsets[int]"
    """Events at which handlers printed something."""
    upcast_offsets: "Offsets[int]"
    """Events that were upcast."""
    has_reads: bool
    """Whether handlers read clocks or random numbers."""
    changes: WindowCache[dict[str, DocumentSnapshot]] = field(init=False)
    calls: WindowCache[CallsAndReads] = field(init=False)
    base_state: BaseState = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "changes", WindowCache(self.history.changes_by_event))
        object.__setattr__(self, "calls", WindowCache(self._load_calls))
        object.__setattr__(self, "base_state", BaseState(self.history))

    @property
    def fold_record(self) -> FoldRecord:
        """How far the projection is folded."""
        return self.history.fold_record

    @property
    def has_calls(self) -> bool:
        """Whether handlers made calls or read clocks or random numbers."""
        return self.has_reads or self.fold_record.call_count > 0

    def is_in_memory(self, position: int) -> bool:
        """Return whether a step to a position needs no query."""
        reported = position in self.failed_offsets or any(
            contains_offset(offsets, position)
            for offsets in (self.printed_offsets, self.upcast_offsets)
        )
        has_calls = not self.has_calls or self.calls.has_window(position)
        return self.changes.has_window(position) and has_calls and not reported

    def _load_calls(self, first: int, last: int) -> dict[int, CallsAndReads]:
        calls = call_decisions.read_decisions_between(self.history, first, last)
        reads = (
            call_decisions.list_nondeterministic_reads_between(self.history, first, last)
            if self.has_reads
            else {}
        )
        return {
            offset: (tuple(calls.get(offset, ())), tuple(reads.get(offset, ())))
            for offset in {*calls, *reads}
        }


def query_history(workspace: Workspace, folded: FoldRecord) -> HistoryView:
    """Query a projection's history. Call it in a thread."""
    history = History(workspace, folded)
    return HistoryView(
        history,
        frozenset(history.failure_offsets()),
        history.printed_offsets(),
        history.upcast_offsets(),
        bool(call_decisions.list_nondeterministic_reads(history, 1)),
    )


def list_folds(workspace: Workspace) -> list[FoldRecord]:
    """Return the projections that are folded on a timeline."""
    return catalogue.list_folds(workspace)


def find_fold(workspace: Workspace, reference: Reference) -> FoldRecord | None:
    """Return how far a projection is folded on a timeline; None if it isn't."""
    return catalogue.find_fold(workspace, reference)
