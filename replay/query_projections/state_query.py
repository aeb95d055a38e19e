"""The documents of a position, straight from asking a relation there; nothing is kept."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from replay.projection.reference import Reference
from replay.query_projections.engines import opened
from replay.query_projections.evaluation import NOW, Asking, asking
from replay.worker_host.worker_process import PATIENCE
from storage.workspace.workspace import Workspace

_BATCH = 10_000
_EARLIER = "documents_earlier"


class Looked:
    """States of a projection over all events where no history of it is kept."""

    def __init__(self, workspace: Workspace, wanted: Reference) -> None:
        self._workspace = workspace
        self._wanted = wanted

    @property
    def name(self) -> str:
        return self._wanted.name

    def all_at(self, offset: int, key: str | None = None) -> Iterator[pa.RecordBatch]:
        """Every document at a position, or the one with that key: batches of `key` and `state`.

        In the order of their keys. Raises `ProjectionError` where it can't be asked.
        """
        with self._asked() as ask:
            ask.at(offset)
            relation = ask.connection.sql(
                f"SELECT key, state FROM {NOW} WHERE $key IS NULL OR key = $key ORDER BY key",
                params={"key": key},
            )
            yield from relation.to_arrow_reader(_BATCH)

    def changed_between(
        self, start: int, end: int, key: str | None = None
    ) -> Iterator[tuple[str, str | None, str | None]]:
        """Documents that differ between two positions: key, state at the earlier, at the later."""
        with self._asked() as ask:
            ask.at(start)
            ask.connection.execute(f"CREATE OR REPLACE TEMP TABLE {_EARLIER} AS FROM {NOW}")
            ask.at(end)
            relation = ask.connection.sql(
                "SELECT coalesce(now.key, earlier.key) AS key, earlier.state AS old, now.state AS new"
                f" FROM {NOW} AS now FULL JOIN {_EARLIER} AS earlier ON now.key = earlier.key"
                " WHERE now.state IS DISTINCT FROM earlier.state"
                " AND ($key IS NULL OR coalesce(now.key, earlier.key) = $key) ORDER BY 1",
                params={"key": key},
            )
            for batch in relation.to_arrow_reader(_BATCH):
                for row in batch.to_pylist():
                    yield row["key"], row["old"], row["new"]

    @contextmanager
    def _asked(self) -> Iterator[Asking]:
        with (
            opened(self._wanted, PATIENCE, None, lambda: None) as relation,
            asking(self._workspace, relation, self._wanted.name) as ask,
        ):
            yield ask
