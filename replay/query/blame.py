"""Who changed this value: the events that changed the value at a path inside a document.

DuckDB preselects the changes whose value at the path may differ from the one before. The states are
then compared here, because DuckDB's JSON functions read numbers as doubles. The idea comes from
`blame` in version control and `last` in Undo's debugger.
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
    """`ABSENT` if the document had no value at the path."""
    after: Any
    """`ABSENT` if the event removed the value."""


def find_value_changes(
    history: History,
    key: str,
    path: DocumentPath,
    *,
    after: int,
    until: int,
    backwards: bool = False,
) -> Iterator[ValueChange]:
    """Yield the changes of the value at a path, by events after offset `after` up to `until`.

    Takes time in proportion to the number of the document's changes.
    """
    for offset, old_document, new_document in history.value_changes(
        key, path, after=after, until=until, backwards=backwards
    ):
        before, now = (get_value_at(value, path) for value in (old_document, new_document))
        if not (before is ABSENT and now is ABSENT) and not is_same_value(before, now):
            yield ValueChange(offset, before, now)
