"""What an edit of the code did: the documents that are otherwise in a second history of the same
log, each with the offset from which on it is."""

from dataclasses import dataclass

from replay.compare import history_comparison
from replay.compare.alignment import Aligned
from replay.document.diff import Difference, differences
from replay.history.changes import value_of
from replay.history.history import History

MOST = 10_000
"""Documents that are listed; all are counted."""


@dataclass(frozen=True)
class First:
    """A document, and the first event after which it differs."""

    offset: int
    key: str


@dataclass(frozen=True)
class Edit:
    """Two histories of one log, by the code before an edit and after it, as far as both go."""

    old: History
    new: History
    until: int
    """Events compared: the offset of the next one."""
    documents: int
    """How many documents differ."""
    firsts: tuple[First, ...]
    """The first `MOST` of them, in the order of the log."""

    @property
    def names(self) -> tuple[str, str]:
        """What its two sides are called."""
        return "old code", "new code"

    def differences(self, key: str, offset: int) -> list[Difference]:
        """What is otherwise in a document at a position: before by the old code, after by the new."""
        changes = (history.state(key, offset) for history in (self.old, self.new))
        return differences(*map(value_of, changes))


def compare(old: History, new: History) -> Edit:
    """Where the second history parts from the first one, also where it has come back; scans both."""
    until = min(old.folded.folded, new.folded.folded)
    aligned, end = Aligned(old.workspace, new.workspace), until - 1
    found, documents = history_comparison.parted(
        old, new, aligned, (end, end), healed=True, most=MOST
    )
    firsts = tuple(First(aligned.b.by(spot), key) for key, spot in found)
    return Edit(old, new, until, documents, firsts)
