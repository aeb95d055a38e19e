"""Labels: how events are named on every timeline, whatever was edited on it.

An event of the log keeps its offset on every fork. One that was inserted is named after the event
of the log that it follows: `900+1`, `900+2`; before the first event, `start+1`.
"""

import re
from dataclasses import dataclass

_START = -1
_WRITTEN = re.compile(r"(start|\d{1,18})\+(\d{1,9})")


@dataclass(frozen=True, order=True)
class Label:
    """The name of an event, or of the position after it."""

    offset: int
    """Of the event of the log, or of the one that an inserted event follows; -1: the start."""
    inserted: int = 0
    """Which of those that were inserted after it; 0: the event of the log itself."""

    def __str__(self) -> str:
        offset = "start" if self.offset == _START else str(self.offset)
        return f"{offset}+{self.inserted}" if self.inserted else offset

    @property
    def json_value(self) -> int | str:
        """As JSON has it: a number for an event of the log."""
        return str(self) if self.inserted else self.offset


def parse_inserted_label(text: str) -> Label | None:
    """The label of an inserted event (`900+1`); None where the text is none."""
    found = _WRITTEN.fullmatch(text)
    if found is None:
        return None
    return Label(_START if found[1] == "start" else int(found[1]), int(found[2]))
