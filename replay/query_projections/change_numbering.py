"""Turns the states that a relation gave into the numbered changes of a history."""

import numpy as np
import pyarrow as pa

from replay.query_projections.evaluation import RelationEvaluation
from replay.worker_host.batch_result import BatchResult
from storage.db.query import fetch_arrow

_LATEST_STATES_SQL = """
SELECT key, max(change) AS change, arg_max({'s': state}, change).s AS state
FROM %s SEMI JOIN found_states USING (key)
WHERE projection = $projection AND timeline = $timeline GROUP BY key
"""

_NUMBERED_CHANGES_SQL = """
WITH known AS (%s),
-- Known states get the offset -2, so the first found state of each key is compared with its known one.
together AS (
    SELECT key, "offset", state, CAST(NULL AS BIGINT) AS change FROM found_states
    UNION ALL SELECT key, -2, state, change FROM known
),
compared AS (
    SELECT *, lag(state) OVER (PARTITION BY key ORDER BY "offset") AS before FROM together
),
numbered AS (
    SELECT key, "offset", state, coalesce(change, $next - 1 + row_number() OVER (
        PARTITION BY change IS NULL ORDER BY "offset", key)) AS number
    FROM compared WHERE change IS NOT NULL OR state IS DISTINCT FROM before
),
linked AS (
    SELECT *, coalesce(lag(number) OVER (PARTITION BY key ORDER BY number), -1) AS previous
    FROM numbered
)
SELECT "offset", key, state, previous FROM linked WHERE "offset" <> -2 ORDER BY number
"""


def number_changes(
    evaluation: RelationEvaluation,
    states: pa.Table,
    routes: pa.Table | None,
    *,
    projection: int,
    timeline: str,
    next_change: int,
) -> BatchResult:
    """Return the batch result of a stretch of the log, from the states of documents after events.

    `states` has `key`, `offset` and `state`; a state that equals the one before is no change.
    """
    latest = _LATEST_STATES_SQL % evaluation.table_sql("history")
    evaluation.connection.register("found_states", states)
    try:
        changes = fetch_arrow(
            evaluation.connection,
            _NUMBERED_CHANGES_SQL % latest,
            {"projection": projection, "timeline": timeline, "next": next_change},
        )
    finally:
        evaluation.connection.unregister("found_states")
    in_parts = pa.array(np.zeros(changes.num_rows, bool))
    changes = changes.append_column("in_parts", in_parts)
    return BatchResult(changes.combine_chunks(), None, routes, (), (), (), (), (), {}, None, ())
