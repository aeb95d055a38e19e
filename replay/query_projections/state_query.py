"""Returns the documents of a position by evaluating a relation there; nothing is saved."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from replay.projection.projection_reference import Reference
from replay.query_projections.engines import open_relation
from replay.query_projections.evaluation import DOCUMENTS_TABLE, RelationEvaluation, open_evaluation
from replay.worker_host.worker_process import PATIENCE_SECONDS
from storage.workspace.workspace import Workspace

_BATCH_DOCUMENTS = 10_000
_EARLIER_TABLE = "documents_earlier"


class StateQuery:
    """The states of a query projection at positions for which it has no history."""

    def __init__(self, workspace: Workspace, reference: Reference) -> None:
        self._workspace = workspace
        self._reference = reference

    @property
    def projection_name(self) -> str:
        return self._reference.name

    def scan_documents_at(self, offset: int, key: str | None = None) -> Iterator[pa.RecordBatch]:
        """Yield every document at a position, or only the one with `key`, in the order of keys.

        The batches have the columns `key` and `state`. Raises `ProjectionError` if the query fails.
        """
        with self._open_evaluation() as evaluation:
            evaluation.evaluate_at(offset)
            relation = evaluation.connection.sql(
                f"SELECT key, state FROM {DOCUMENTS_TABLE} WHERE $key IS NULL OR key = $key ORDER BY key",
                params={"key": key},
            )
            yield from relation.to_arrow_reader(_BATCH_DOCUMENTS)

    def scan_documents_changed_between(
        self, start: int, end: int, key: str | None = None
    ) -> Iterator[tuple[str, str | None, str | None]]:
        """Yield the documents that differ between two positions, in the order of keys: key, state at
        `start`, state at `end`."""
        with self._open_evaluation() as evaluation:
            evaluation.evaluate_at(start)
            evaluation.connection.execute(
                f"CREATE OR REPLACE TEMP TABLE {_EARLIER_TABLE} AS FROM {DOCUMENTS_TABLE}"
            )
            evaluation.evaluate_at(end)
            relation = evaluation.connection.sql(
                "SELECT coalesce(now.key, earlier.key) AS key, earlier.state AS old, now.state AS new"
                f" FROM {DOCUMENTS_TABLE} AS now FULL JOIN {_EARLIER_TABLE} AS earlier ON now.key = earlier.key"
                " WHERE now.state IS DISTINCT FROM earlier.state"
                " AND ($key IS NULL OR coalesce(now.key, earlier.key) = $key) ORDER BY 1",
                params={"key": key},
            )
            for batch in relation.to_arrow_reader(_BATCH_DOCUMENTS):
                for row in batch.to_pylist():
                    yield row["key"], row["old"], row["new"]

    @contextmanager
    def _open_evaluation(self) -> Iterator[RelationEvaluation]:
        with (
            open_relation(self._reference, PATIENCE_SECONDS, None, lambda: None) as relation,
            open_evaluation(self._workspace, relation, self._reference.name) as evaluation,
        ):
            yield evaluation
