"""Computes the states of a stretch of the log by evaluating a relation after each of its events.

An event may change any document, so all documents are compared after each event.
"""

import time
from collections.abc import Callable

import pyarrow as pa

from replay.query_projections.evaluation import DOCUMENTS_TABLE, RelationEvaluation
from storage.db.query import fetch_arrow
from storage.errors import ProjectionError

_PREVIOUS_TABLE = "documents_before"


def load_base_documents(evaluation: RelationEvaluation, position: int) -> pa.Table:
    """Return all documents of a position, as if its event had changed each of them."""
    evaluation.evaluate_at(position)
    return _query_states(evaluation, position, f"SELECT key, state FROM {DOCUMENTS_TABLE}")


def evaluate_each_event(
    evaluation: RelationEvaluation,
    first: int,
    last: int,
    budget_seconds: float,
    on_event: Callable[[int], None],
) -> tuple[pa.Table, int]:
    """Return the changed states (`key`, `offset`, `state`) and the first offset not evaluated.

    Stop after `budget_seconds`, or before an event at which the relation fails; raise
    `ProjectionError` if it fails at `first`. `on_event` is called after each event, and may raise.
    """
    began = time.monotonic()
    states: list[pa.Table] = []
    if first > 0:
        evaluation.evaluate_at(first - 1)
    for offset in range(first, last + 1):
        before = None if offset == 0 else _PREVIOUS_TABLE
        if before:
            evaluation.connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {_PREVIOUS_TABLE} AS FROM {DOCUMENTS_TABLE}"
            )
        try:
            evaluation.evaluate_at(offset)
        except ProjectionError:
            if offset == first:
                raise
            return pa.concat_tables(states), offset
        states.append(_query_states(evaluation, offset, _changed_documents_sql(before)))
        on_event(offset)
        if time.monotonic() - began > budget_seconds:
            return pa.concat_tables(states), offset + 1
    return pa.concat_tables(states), last + 1


def _changed_documents_sql(before: str | None) -> str:
    if before is None:
        return f"SELECT key, state FROM {DOCUMENTS_TABLE}"
    return (
        f"SELECT coalesce(n.key, b.key) AS key, n.state AS state FROM {DOCUMENTS_TABLE} AS n"
        f" FULL JOIN {before} AS b ON b.key = n.key WHERE n.state IS DISTINCT FROM b.state"
    )


def _query_states(evaluation: RelationEvaluation, offset: int, query: str) -> pa.Table:
    at = f'CAST({offset} AS BIGINT) AS "offset"'
    return fetch_arrow(evaluation.connection, f"SELECT key, {at}, state FROM ({query})")
