"""Moments: when a condition became true, or stopped being so, in the whole history.

Exact, also for what healed later: every state is looked at, and compared with the one before it.
Before its first state a document counts as false, and so does a deleted one. A condition with sum,
avg or count is one on all documents together, asked after every event.
"""

from replay import aggregates, expressions
from replay.history import History, Hit, Turns


def began(history: History, condition: str, limit: int | None = None) -> Turns:
    """Every moment at which a condition became true; scans. Raises `QueryError` for a wrong one."""
    return _turns(history, condition, limit, to=True)


def ended(history: History, condition: str, limit: int | None = None) -> Turns:
    """Every moment at which a condition stopped being true; scans. Raises `QueryError`."""
    return _turns(history, condition, limit, to=False)


def over_all(history: History, condition: str) -> bool:
    """Whether a condition is on all documents together; raises `QueryError` for a wrong one."""
    with history.workspace.reading() as connection:
        if aggregates.is_aggregated(connection, condition):
            aggregates.condition(connection, condition, long_numbers=False)
            return True
        expressions.condition(connection, condition, long_numbers=False)
        return False


def _turns(history: History, condition: str, limit: int | None, *, to: bool) -> Turns:
    if over_all(history, condition):
        found = aggregates.turned(history, condition, to=to, limit=limit)
        return Turns(0, (Hit(offset, None, None, until) for offset, until in found))
    with history.workspace.reading() as connection:
        expression = expressions.condition(connection, condition, long_numbers=history.long_numbers)
    return history.turns(expression, to=to, limit=limit)
