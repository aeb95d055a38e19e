"""States that were found, as the numbered changes of a history."""

import numpy as np
import pyarrow as pa

from replay.query_projections.evaluation import Asking
from replay.worker_host.batch_result import Told
from storage.db.query import arrow

_LATEST = """
SELECT key, max(change) AS change, arg_max({'s': state}, change).s AS state
FROM %s SEMI JOIN found_states USING (key)
WHERE projection = $projection AND timeline = $timeline GROUP BY key
"""

_CHANGES = """
WITH known AS (%s),
-- What is known stands before all that was found, so that the first is compared with it.
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


def told(
    ask: Asking,
    found: pa.Table,
    routes: pa.Table | None,
    *,
    projection: int,
    timeline: str,
    next_change: int,
) -> Told:
    """What a stretch of the log did, from the states of documents after events.

    `found` has `key`, `offset` and `state`; a state that is what it was before is no change.
    """
    latest = _LATEST % ask.table("history")
    ask.connection.register("found_states", found)
    try:
        changes = arrow(
            ask.connection,
            _CHANGES % latest,
            {"projection": projection, "timeline": timeline, "next": next_change},
        )
    finally:
        ask.connection.unregister("found_states")
    whole = pa.array(np.zeros(changes.num_rows, bool))
    changes = changes.append_column("in_parts", whole)
    return Told(changes.combine_chunks(), None, routes, (), (), (), (), (), {}, None, ())
