"""Who changed this: the events at which a value inside a document became another one.

The history is asked for states whose value at the path differs from the one before; where the
file's JSON functions can't tell, because they read numbers as doubles, the states themselves are
compared. As `blame` of version control, and `last` of Undo's debugger.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from replay.document.diff import is_same_value
from replay.document.paths import ABSENT, DocumentPath, get_value_at
from replay.history.history import History


@dataclass(frozen=True)
class ValueChange:
    """A change of one value."""

    offset: int
    before: Any
    """`ABSENT` where the value wasn't there."""
    after: Any


def find_value_changes(
    history: History,
    key: str,
    path: DocumentPath,
    *,
    after: int,
    until: int,
    backwards: bool = False,
) -> Iterator[ValueChange]:
    """Changes of the value at a path of a document, of events behind `after` up to `until`.

    Takes time by the number of the document's changes.
    """
    for offset, old_document, new_document in history.value_changes(
        key, path, after=after, until=until, backwards=backwards
    ):
        before, now = (get_value_at(value, path) for value in (old_document, new_document))
        if not (before is ABSENT and now is ABSENT) and not is_same_value(before, now):
            yield ValueChange(offset, before, now)
