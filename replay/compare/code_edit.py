"""What an edit of the code did: the documents that are otherwise in a second history of the same
log, each with the offset from which on it is."""

from dataclasses import dataclass

from replay.compare import history_comparison
from replay.compare.alignment import AlignedTimelines
from replay.document.diff import Difference, find_differences
from replay.history.changes import value_after
from replay.history.history import History

MAX_LISTED_DOCUMENTS = 10_000
"""Documents that are listed; all are counted."""


@dataclass(frozen=True)
class FirstDifference:
    """A document, and the first event after which it differs."""

    offset: int
    key: str


@dataclass(frozen=True)
class CodeEditComparison:
    """Two histories of one log, by the code before an edit and after it, as far as both go."""

    old: History
    new: History
    end_offset: int
    """Events compared: the offset of the next one."""
    differing_documents: int
    """How many documents differ."""
    first_differences: tuple[FirstDifference, ...]
    """The first `MOST` of them, in the order of the log."""

    @property
    def names(self) -> tuple[str, str]:
        """What its two sides are called."""
        return "old code", "new code"

    def differences(self, key: str, position: int) -> list[Difference]:
        """What is otherwise in a document at a position: before by the old code, after by the new."""
        changes = (history.state_at(key, position) for history in (self.old, self.new))
        return find_differences(*map(value_after, changes))


def compare_code_edit(old: History, new: History) -> CodeEditComparison:
    """Where the second history parts from the first one, also where it has come back; scans both."""
    until = min(old.fold_record.next_offset, new.fold_record.next_offset)
    aligned, end = AlignedTimelines(old.workspace, new.workspace), until - 1
    found, documents = history_comparison.find_differing_documents(
        old, new, aligned, (end, end), include_healed=True, limit=MAX_LISTED_DOCUMENTS
    )
    firsts = tuple(FirstDifference(aligned.b.position_before(spot), key) for key, spot in found)
    return CodeEditComparison(old, new, until, documents, firsts)
