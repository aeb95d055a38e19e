"""The effect of a code edit: the documents that differ between two histories of the same log, each
with the offset from which it differs."""

from dataclasses import dataclass

from replay.compare import history_comparison
from replay.compare.alignment import AlignedTimelines
from replay.document.diff import Difference, find_differences
from replay.history.changes import value_after
from replay.history.history import History

MAX_LISTED_DOCUMENTS = 10_000
"""The number of documents that are listed; all are counted."""


@dataclass(frozen=True)
class FirstDifference:
    """A document and the first event after which it differs."""

    offset: int
    key: str


@dataclass(frozen=True)
class CodeEditComparison:
    """Two histories of one log, by the code before and after an edit, compared as far as both go."""

    old: History
    new: History
    end_offset: int
    """The offset after the last compared event."""
    differing_documents: int
    """The number of documents that differ."""
    first_differences: tuple[FirstDifference, ...]
    """The first `MAX_LISTED_DOCUMENTS` of them, in the order of the log."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two sides, as shown on the screen."""
        return "old code", "new code"

    def differences(self, key: str, position: int) -> list[Difference]:
        """Return how a document differs at a position: before by the old code, after by the new."""
        changes = (history.state_at(key, position) for history in (self.old, self.new))
        return find_differences(*map(value_after, changes))


def compare_code_edit(old: History, new: History) -> CodeEditComparison:
    """Compare two histories of one log, including documents that differ only for a while. Scans both."""
    until = min(old.fold_record.next_offset, new.fold_record.next_offset)
    aligned, end = AlignedTimelines(old.workspace, new.workspace), until - 1
    found, documents = history_comparison.find_differing_documents(
        old, new, aligned, (end, end), include_healed=True, limit=MAX_LISTED_DOCUMENTS
    )
    firsts = tuple(FirstDifference(aligned.b.position_before(spot), key) for key, spot in found)
    return CodeEditComparison(old, new, until, documents, firsts)
