"""Who changed this: the events at which a value inside a document became another one.

The history is asked for states whose value at the path differs from the one before; where the
file's JSON functions can't tell, because they read numbers as doubles, the states themselves are
compared. As `blame` of version control, and `last` of Undo's debugger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from replay.document.diff import same
from replay.document.paths import ABSENT, Path, value_at
from replay.history.history import History


@dataclass(frozen=True)
class Touch:
    """A change of one value."""

    offset: int
    before: Any
    """`ABSENT` where the value wasn't there."""
    after: Any


def touches(
    history: History, key: str, path: Path, *, after: int, until: int, backwards: bool = False
) -> Iterator[Touch]:
    """Changes of the value at a path of a document, of events behind `after` up to `until`.

    Takes time by the number of the document's changes.
    """
    for offset, old, new in history.steps(key, path, after=after, until=until, backwards=backwards):
        before, now = (value_at(value, path) for value in (old, new))
        if not (before is ABSENT and now is ABSENT) and not same(before, now):
            yield Touch(offset, before, now)
