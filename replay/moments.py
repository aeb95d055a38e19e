"""Moments: when a condition on a document became true, or stopped being so, in the whole history.

Exact, also for what healed later: every state is looked at, and compared with the one before it.
Before its first state a document counts as false, and so does a deleted one.
"""

from replay import expressions
from replay.history import History, Turns


def began(history: History, condition: str, limit: int | None = None) -> Turns:
    """Every moment at which a condition became true; scans. Raises `QueryError` for a wrong one."""
    return _turns(history, condition, limit, to=True)


def ended(history: History, condition: str, limit: int | None = None) -> Turns:
    """Every moment at which a condition stopped being true; scans. Raises `QueryError`."""
    return _turns(history, condition, limit, to=False)


def _turns(history: History, condition: str, limit: int | None, *, to: bool) -> Turns:
    with history.workspace.reading() as connection:
        expression = expressions.condition(connection, condition, long_numbers=history.long_numbers)
    return history.turns(expression, to=to, limit=limit)
