"""What a history tells of a document at a position: the state there, and the one before."""

from dataclasses import dataclass
from typing import Any, Protocol

from replay.document.diff import Difference, differences, readable
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

    def since(self, before: "Change | None") -> list[Difference]:
        """How the document differs from what an earlier change made of it."""


@dataclass(frozen=True)
class Whole:
    """A change whose state is kept as it is."""

    offset: int
    state: str | None

    @property
    def value(self) -> Any:
        return readable(self.state)

    def since(self, before: Change | None) -> list[Difference]:
        return differences(value_of(before), self.value)


@dataclass(frozen=True)
class Moment:
    """A document at a position: its state there, and the one before that."""

    now: Change | None
    before: Change | None

    @property
    def changed_at(self) -> int | None:
        return None if self.now is None else self.now.offset

    def differences(self) -> list[Difference]:
        """What the last change did."""
        if self.now is None:
            return differences(value_of(self.before), ABSENT)
        return self.now.since(self.before)


def value_of(change: Change | None) -> Any:
    """The value that a change made; `ABSENT` where there is none."""
    return ABSENT if change is None else change.value
