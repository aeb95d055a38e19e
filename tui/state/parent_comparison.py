"""The comparison of a fork's history with its parent's, aligned by event."""

from dataclasses import dataclass
from functools import cached_property

from replay.compare import history_comparison
from replay.compare.history_comparison import HistoryComparison
from replay.document.diff import Difference, find_differences
from replay.history.changes import value_after
from replay.history.forked_history import find_forked_history
from replay.history.history import History
from storage.timelines.forked_workspace import ForkedWorkspace


@dataclass(frozen=True)
class ParentComparison:
    """A fork's history compared with its parent's."""

    parent: History
    history: History
    fork: ForkedWorkspace

    @property
    def names(self) -> tuple[str, str]:
        return self.fork.parent.timeline, self.fork.timeline

    @cached_property
    def comparison(self) -> HistoryComparison:
        """The documents that differ at the end. Slow at the first access: use a thread."""
        return history_comparison.compare_histories(self.parent, self.history)

    @property
    def differing_documents(self) -> int:
        """The number of documents that differ. Slow at the first access."""
        return len(self.comparison.differing_documents)

    @property
    def end_offset(self) -> int:
        return self.history.fold_record.next_offset

    def differences(self, key: str, position: int) -> list[Difference]:
        """Return the differences of a document at a position, from the parent to the fork."""
        before = self.parent.state_at(key, self.fork.position_map.parent_position_before(position))
        return find_differences(
            value_after(before), value_after(self.history.state_at(key, position))
        )


def compare_with_parent(history: History | None) -> ParentComparison | None:
    """Return the comparison with the parent; None if the history is not a fork's."""
    stands = None if history is None else find_forked_history(history)
    return (
        None
        if stands is None
        else ParentComparison(stands.parent, stands.history, stands.workspace)
    )
