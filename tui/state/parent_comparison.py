"""The timeline that a fork is compared with, at hand beside it: its parent, at the same moment."""

from dataclasses import dataclass
from functools import cached_property

from replay.compare import history_comparison
from replay.compare.history_comparison import Comparison
from replay.document.diff import Difference, differences
from replay.history.changes import value_of
from replay.history.fork_base import forked
from replay.history.history import History
from storage.timelines.workspace_view import Seen


@dataclass(frozen=True)
class Beside:
    """A fork's history and its parent's."""

    parent: History
    history: History
    seen: Seen

    @property
    def names(self) -> tuple[str, str]:
        return self.seen.parent.timeline, self.seen.timeline

    @cached_property
    def compared(self) -> Comparison:
        """The documents that differ at the end; asked in a thread."""
        return history_comparison.compare(self.parent, self.history)

    @property
    def documents(self) -> int:
        """How many differ; whoever asks first waits."""
        return len(self.compared.differing)

    @property
    def until(self) -> int:
        return self.history.folded.folded

    def differences(self, key: str, position: int) -> list[Difference]:
        """What is otherwise in a document at a position: before on the parent, after on the fork."""
        before = self.parent.state(key, self.seen.overlay.before(position))
        return differences(value_of(before), value_of(self.history.state(key, position)))


def beside(history: History | None) -> Beside | None:
    """What stands beside a history; None where it isn't a fork's."""
    if history is None or not isinstance(history.workspace, Seen):
        return None
    stands = forked(history)
    return None if stands is None else Beside(stands.parent, history, history.workspace)
