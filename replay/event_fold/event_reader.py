"""Reads the events of a timeline in batches, in the order of offsets, for workers."""

import numpy as np
import pyarrow as pa

from replay.worker_host import event_frame
from storage.log.event_rows import EventRows
from storage.workspace.workspace import Workspace


class EventReader:
    """Batches of consecutive events; with several shares, each event has its share as a column."""

    def __init__(
        self,
        workspace: Workspace,
        first_offset: int,
        end_offset: int,
        share_count: int,
        *,
        only_share: int | None = None,
        columns: str = event_frame.SELECT_COLUMNS,
    ) -> None:
        """`share_count` is the number of workers that split the streams; `only_share` limits the
        batches to the events of one share. `columns` is SQL and must include the offset."""
        share = f"CAST(hash(stream) % {int(share_count)} AS INTEGER)"
        self._event_rows = EventRows(
            workspace, f"{columns}, {share} AS share" if share_count > 1 else columns
        )
        self._share_condition = "true" if only_share is None else f"{share} = {int(only_share)}"
        self._next_offset = first_offset
        self.end_offset = end_offset
        """The end of the last batch, exclusive."""

    @property
    def next_offset(self) -> int:
        """The end of the batches read so far, exclusive; erased events are in no batch."""
        return self._next_offset

    @classmethod
    def for_whole_log(cls, workspace: Workspace, share_count: int) -> "EventReader":
        """Return a reader of all events that the timeline has now."""
        return cls(workspace, 0, count_events(workspace), share_count)

    def read_batch(self, event_count: int) -> pa.Table | None:
        """Return the events of the next `event_count` offsets in order, or None at the end."""
        if self._next_offset >= self.end_offset:
            return None
        end = min(self._next_offset + event_count, self.end_offset)
        table = self._event_rows.read_between(self._next_offset, end, self._share_condition)
        self._next_offset = end
        offsets = table["offset"].to_numpy()
        if len(offsets) and (np.diff(offsets) < 0).any():
            table = table.sort_by("offset")
        return table


def count_events(workspace: Workspace) -> int:
    """Return the number of positions on the timeline, which is the end of its offsets."""
    with workspace.reading() as connection:
        return workspace.count_positions(connection)
