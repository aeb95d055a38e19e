"""Invariants: what must hold of every state, or of all documents after every event.

One is a function in the projection's `INVARIANTS`, which the worker asks while it folds, or a
condition there or typed, which is asked of the history. A condition that can't be told of a state,
as a value isn't there or of another kind, is broken by it, as a function would raise.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping

from replay.history.fold_reports import InvariantViolation
from replay.history.history import History
from replay.query import condition_search
from storage.errors import QueryError


def find_violations(
    history: History,
    conditions_by_name: Mapping[str, str] | None = None,
    *,
    on_error: Callable[[str], None] | None = None,
) -> Iterator[InvariantViolation]:
    """Every moment at which an invariant became broken, in the order of the log.

    `asked` are conditions by name; without them, all that the projection declares. One that can't
    be asked is told to `on_trouble` in a sentence, before the first moment, and the others are asked
    nevertheless; where nobody listens, `QueryError` is raised.
    """
    declared = history.fold_record.invariants
    conditions = {name: text for name, text in declared.items() if text is not None}
    found: list[Iterator[InvariantViolation]] = []
    if conditions_by_name is None:
        found.append(iter(history.invariant_violations()))
    for name, text in (conditions if conditions_by_name is None else conditions_by_name).items():
        try:
            found.append(iter(condition_search.find_invariant_violations(history, name, text)))
        except QueryError as error:
            if on_error is None:
                raise
            on_error(f"{name}: {error.message}")
    return heapq.merge(*found, key=lambda b: (b.offset, b.invariant, b.key or ""))
