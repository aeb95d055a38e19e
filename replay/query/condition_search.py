"""Moments: when a condition became true, or stopped being so, in the whole history.

Exact, also for what healed later: every state is looked at, and compared with the one before it.
Before its first state a document counts as false, and so does a deleted one. A condition with sum,
avg or count is one on all documents together, asked after every event.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replay.history.fold_reports import Break
from replay.history.history import History
from replay.query import aggregates, expressions
from replay.query.sql_compiler import Expression

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Hit:
    """A moment at which a condition turned."""

    offset: int
    key: str | None
    """None where it is one on all documents together."""


@dataclass(frozen=True)
class Moments:
    """The moments of one stretch of the log, in its order."""

    until: int
    """The last offset that has been looked at."""
    others: int
    """States in it that hold a value of another kind than it is compared as."""
    hits: list[Hit]


def began(history: History, condition: str) -> Iterator[Moments]:
    """Every moment at which a condition became true, a stretch of the log at a time; scans.

    Raises `QueryError` for a wrong one, before anything else.
    """
    return _turned(history, condition, to=True)


def ended(history: History, condition: str) -> Iterator[Moments]:
    """Every moment at which a condition stopped being true; scans. Raises `QueryError`."""
    return _turned(history, condition, to=False)


def over_all(history: History, condition: str) -> bool:
    """Whether a condition is on all documents together; raises `QueryError` for a wrong one."""
    with history.workspace.reading() as connection:
        if aggregates.is_aggregated(connection, condition):
            aggregates.condition(connection, condition, long_numbers=False)
            return True
        expressions.condition(connection, condition, long_numbers=False)
        return False


def breaks(history: History, name: str, condition: str) -> list[Break]:
    """Every moment from which a condition didn't hold, with the one at which it did again; scans.

    It is broken where it can't be told of a state. Raises `QueryError`.
    """
    from replay.query import condition_transitions, running_aggregates  # noqa: PLC0415 - they import Arrow, and a screen needn't

    everywhere = over_all(history, condition)
    opposite = f"NOT (\n{condition}\n)"
    if everywhere:
        turned = [
            row for stretch in running_aggregates.turns(history, opposite) for row in stretch.rows
        ]
        begun = [offset for offset, holds in turned if holds]
        ended = [*(offset for offset, holds in turned if not holds), None]
        return [Break(name, at, None, None, until) for at, until in zip(begun, ended, strict=False)]
    found: list[Break] = []
    open_at: dict[str, int] = {}
    for stretch in condition_transitions.turns(history, _expression(history, opposite), to=None):
        for turn in stretch.rows.to_pylist():
            key = turn["key"]
            if turn["holds"]:
                open_at[key] = len(found)
                found.append(Break(name, turn["offset"], key, None, None))
            else:
                place = open_at.pop(key)
                found[place] = replace(found[place], until=turn["offset"])
    return found


def _turned(history: History, condition: str, *, to: bool) -> Iterator[Moments]:
    from replay.query import condition_transitions, running_aggregates  # noqa: PLC0415 - as above

    first = history.folded.first
    if over_all(history, condition):
        return (
            Moments(s.until, 0, [Hit(o, None) for o, holds in s.rows if holds == to and o >= first])
            for s in running_aggregates.turns(history, condition)
        )
    found = condition_transitions.turns(history, _expression(history, condition), to=to)
    return (
        Moments(s.until, s.others, [Hit(o, k) for o, k in _places(s.rows) if o >= first])
        for s in found
    )


def _places(rows: "pa.Table") -> Iterator[tuple[int, str]]:
    return ((row["offset"], row["key"]) for row in rows.to_pylist())


def _expression(history: History, condition: str) -> Expression:
    with history.workspace.reading() as connection:
        return expressions.condition(connection, condition, long_numbers=history.long_numbers)
