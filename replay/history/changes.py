"""Changes of documents, and a document at a position: its state there and the state before."""

from dataclasses import dataclass
from typing import Any, Protocol

from replay.document.diff import Difference, decode_or_text, find_differences
from replay.document.paths import ABSENT


class Change(Protocol):
    """A step of one document: the offset of the event, and the state after it."""

    @property
    def offset(self) -> int: ...

    @property
    def state(self) -> str | None:
        """The state as JSON; None: the event deleted the document.

        A large document is assembled from its parts for this.
        """

    @property
    def value(self) -> Any:
        """The decoded state; `ABSENT` for a deleted document, the text itself if it can't be decoded."""

    def differences_since(self, previous: "Change | None") -> list[Difference]:
        """Return how the document differs from its state after an earlier change."""


@dataclass(frozen=True)
class WholeDocumentChange:
    """A change whose state is stored whole, not in parts."""

    offset: int
    state: str | None

    @property
    def value(self) -> Any:
        return decode_or_text(self.state)

    def differences_since(self, previous: Change | None) -> list[Difference]:
        return find_differences(value_after(previous), self.value)


@dataclass(frozen=True)
class DocumentSnapshot:
    """A document at a position: its last change there, and the change before that."""

    current: Change | None
    previous: Change | None

    @property
    def changed_at(self) -> int | None:
        return None if self.current is None else self.current.offset

    def differences_to_previous(self) -> list[Difference]:
        """Return what the last change did."""
        if self.current is None:
            return find_differences(value_after(self.previous), ABSENT)
        return self.current.differences_since(self.previous)


def value_after(change: Change | None) -> Any:
    """Return the decoded state after a change; `ABSENT` if there is no change."""
    return ABSENT if change is None else change.value
