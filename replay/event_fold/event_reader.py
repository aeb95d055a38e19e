"""The log's events on their way to workers, read a batch at a time."""

import numpy as np
import pyarrow as pa

from replay.worker_host import event_frame
from storage.db.query import arrow
from storage.log.tombstones import HANDLED
from storage.workspace.workspace import Workspace


class EventReader:
    """Batches of consecutive events; each with the share that it falls to, if there are several."""

    def __init__(
        self,
        workspace: Workspace,
        first: int,
        until: int,
        shares: int,
        *,
        only: int | None = None,
        columns: str = event_frame.SELECT,
    ) -> None:
        """`only` the events of one share, or of all; `columns` in SQL, the offset among them."""
        share = f"CAST(hash(stream) % {int(shares)} AS INTEGER)"
        self._columns = f"{columns}, {share} AS share" if shares > 1 else columns
        self._kept = "" if only is None else f" AND {share} = {int(only)}"
        self._workspace = workspace
        self._next = first
        self.until = until
        """Where the last batch ends."""

    @property
    def reached(self) -> int:
        """Up to where it was read; what was removed from the log isn't in any batch."""
        return self._next

    @classmethod
    def whole(cls, workspace: Workspace, shares: int) -> "EventReader":
        """The whole log as it is now."""
        return cls(workspace, 0, count(workspace), shares)

    def next(self, size: int) -> pa.Table | None:
        """The next batch in the order of offsets, or None at the end."""
        if self._next >= self.until:
            return None
        end = min(self._next + size, self.until)
        with self._workspace.reading() as connection:
            table = arrow(
                connection,
                f'SELECT {self._columns} FROM events WHERE "offset" >= ? AND "offset" < ?'
                f" AND {HANDLED}{self._kept}",
                [self._next, end],
            )
        self._next = end
        offsets = table["offset"].to_numpy()
        if len(offsets) and (np.diff(offsets) < 0).any():
            table = table.sort_by("offset")
        return table


def count(workspace: Workspace) -> int:
    """How many events there are."""
    with workspace.reading() as connection:
        return workspace.events(connection)
