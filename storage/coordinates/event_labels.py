"""Labels: the names of events, which edits never change.

An event of the log keeps its offset on every fork. An inserted event is named after the event of
the log that it follows: `900+1`, `900+2`; before the first event, `start+1`.
"""

import re
from dataclasses import dataclass

_START = -1
_WRITTEN = re.compile(r"(start|\d{1,18})\+(\d{1,9})")


@dataclass(frozen=True, order=True)
class Label:
    """The name of an event, or of the position after it."""

    offset: int
    """The offset of the event of the log, or of the one that an inserted event follows; -1: the start."""
    inserted: int = 0
    """The number of the inserted event after that offset, from 1; 0: the event of the log itself."""

    def __str__(self) -> str:
        offset = "start" if self.offset == _START else str(self.offset)
        return f"{offset}+{self.inserted}" if self.inserted else offset

    @property
    def json_value(self) -> int | str:
        """The label in JSON: a number for an event of the log, a text for an inserted one."""
        return str(self) if self.inserted else self.offset


def format_label(label: Label) -> str:
    """Return a label for people to read: `1,204`, `1,204+1`, `start`, `start+1`."""
    offset = "start" if label.offset == _START else f"{label.offset:,}"
    return f"{offset}+{label.inserted}" if label.inserted else offset


def parse_inserted_label(text: str) -> Label | None:
    """Return the label of an inserted event (`900+1`), or None if the text has another form."""
    parts = _WRITTEN.fullmatch(text)
    if parts is None:
        return None
    return Label(_START if parts[1] == "start" else int(parts[1]), int(parts[2]))
