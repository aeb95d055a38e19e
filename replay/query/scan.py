"""One ordered pass over the states of a history, whatever its timeline."""

from collections.abc import Generator, Sequence

import duckdb
import numpy as np

from replay.history.forked_history import find_forked_history
from replay.history.history import History
from replay.query.compiled_expression import CompiledExpression
from replay.query.fork_history_scan import scan_fork_history
from replay.query.history_scan import scan_log_history
from replay.query.scan_types import Extraction, ScanChunk


def scan_history(
    connection: duckdb.DuckDBPyConnection,
    history: History,
    expression: CompiledExpression,
    extractions: Sequence[Extraction],
    dtype: type[np.generic],
    *,
    early_first_chunk: bool = True,
) -> Generator[ScanChunk, None, None]:
    """Yield every change of a history in the order of the log, with whole numbers that SQL extracts.

    A deleted document counts as zeros. With `early_first_chunk`, the first stretch is short, for a caller
    who waits for a first answer. The connection can run other queries in between. Raises
    `WorkspaceError` if the changes are not numbered without gaps, and DuckDB's errors.
    """
    base = find_forked_history(history)
    if base is None:
        yield from scan_log_history(
            connection, history, expression, extractions, dtype, early_first_chunk=early_first_chunk
        )
    else:
        yield from scan_fork_history(
            connection, base, expression, extractions, dtype, scan_parent=scan_history
        )
