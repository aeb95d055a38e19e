"""Paths that an expression names and that no state ever had: most often a slip of the pen.

Nothing is wrong with asking for them, so they are told beside the answer.
"""

import duckdb

from replay.document import paths
from replay.document.paths import Path
from replay.history.history import History
from replay.query import aggregates, part_projection
from replay.query.expressions import OF_STATES
from replay.query.scope import named
from storage.errors import QueryError
from storage.query import condition_parser


def nowhere(history: History, text: str) -> str:
    """One sentence that names such paths; "" where there are none.

    So is a sum that no state ever had a number for. Scans only for those. Raises `QueryError` for
    what is no expression.
    """
    with history.workspace.reading() as connection:
        tree = condition_parser.parsed(connection, text, "states")
        missing = [
            path for _, path in named(tree, OF_STATES) if not _held(connection, history, path)
        ]
        if not missing and aggregates.is_aggregated(connection, text):
            return _numberless(connection, history, text)
    if not missing:
        return ""
    names = " or ".join(paths.as_expression("state", path) for path in missing)
    return f"No state ever had a value at {names}."


def _held(connection: duckdb.DuckDBPyConnection, history: History, path: Path) -> bool:
    # The root is NULL only where the document is gone.
    found = connection.execute(
        "SELECT 1 FROM history WHERE projection = ? AND timeline = ?"
        " AND json_extract(state, ?) IS NOT NULL LIMIT 1",
        [history.folded.number, history.folded.timeline, paths.pointer(path)],
    )
    return bool(found.fetchall()) or part_projection.held(connection, history, path)


def _numberless(connection: duckdb.DuckDBPyConnection, history: History, text: str) -> str:
    of_all = {"long_numbers": history.long_numbers}
    try:
        wanted = aggregates.condition(connection, text, **of_all)
    except QueryError:
        wanted = aggregates.value(connection, text, **of_all)
    states = part_projection.states(connection, history, [wanted.row])
    for double in filter(None, wanted.parts.values()):
        found = connection.execute(
            f'SELECT 1 FROM (SELECT "offset", key, state{wanted.row.values} FROM {states}'
            " WHERE projection = ? AND timeline = ?)"
            f" WHERE {double} IS NOT NULL LIMIT 1",
            [history.folded.number, history.folded.timeline],
        )
        if not found.fetchall():
            return f"No state ever had a number that {text!r} could add."
    return ""
