"""What a history tells of a document at a position: the state there, and the one before."""

from dataclasses import dataclass
from typing import Any, Protocol

from replay.document.diff import Difference, decode_or_text, find_differences
from replay.document.paths import ABSENT


class Change(Protocol):
    """A state of a document, and the offset of the event that made it."""

    @property
    def offset(self) -> int: ...

    @property
    def state(self) -> str | None:
        """JSON; None: the event deleted the document. A large one is put together for it."""

    @property
    def value(self) -> Any:
        """What the JSON stands for; `ABSENT` for a deleted document, the text where it can't be
        taken apart."""

    def differences_since(self, previous: "Change | None") -> list[Difference]:
        """How the document differs from what an earlier change made of it."""


@dataclass(frozen=True)
class WholeDocumentChange:
    """A change whose state is kept as it is."""

    offset: int
    state: str | None

    @property
    def value(self) -> Any:
        return decode_or_text(self.state)

    def differences_since(self, previous: Change | None) -> list[Difference]:
        return find_differences(value_after(previous), self.value)


@dataclass(frozen=True)
class DocumentSnapshot:
    """A document at a position: its state there, and the one before that."""

    current: Change | None
    previous: Change | None

    @property
    def changed_at(self) -> int | None:
        return None if self.current is None else self.current.offset

    def differences_to_previous(self) -> list[Difference]:
        """What the last change did."""
        if self.current is None:
            return find_differences(value_after(self.previous), ABSENT)
        return self.current.differences_since(self.previous)


def value_after(change: Change | None) -> Any:
    """The value that a change made; `ABSENT` where there is none."""
    return ABSENT if change is None else change.value
