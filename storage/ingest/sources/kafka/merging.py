"""One order for several partitions: by timestamp, each partition's own order kept.

A record counts as late as the latest one before it in its partition; so sorting never turns a partition's
order round. Of equal ones, the partition that was named first comes first: the same log gives the same
order, however its parts arrive.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

_LOWEST = np.iinfo(np.int64).min


class Merge:
    """Records by partition go in, in their order; records in one order come out."""

    def __init__(self, places: int) -> None:
        self._latest = np.full(places, _LOWEST, dtype=np.int64)
        self._ended = np.zeros(places, dtype=bool)
        self._waiting: list[pa.RecordBatch] = []
        self._places: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self._times: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self.counts = np.zeros(places, dtype=np.int64)
        """How many records of each partition wait for others."""

    def add(
        self, records: pa.RecordBatch, places: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    ) -> None:
        """Records with a column `timestamp`, and the number of the partition of each."""
        times = records["timestamp"].to_numpy(zero_copy_only=False).astype(np.int64)
        late = np.empty_like(times)
        for place in np.unique(places):
            there = np.flatnonzero(places == place)
            running = np.maximum(np.maximum.accumulate(times[there]), self._latest[place])
            late[there] = running
            self._latest[place] = running[-1]
            self.counts[place] += len(there)
        self._waiting.append(records)
        self._places.append(places)
        self._times.append(late)

    def end(self, place: int) -> None:
        """A partition has no more records."""
        self._ended[place] = True

    def ready(self) -> Iterator[pa.RecordBatch]:
        """What no record that is still to come can precede."""
        if not self._waiting:
            return
        times, places = np.concatenate(self._times), np.concatenate(self._places)
        open_ = ~self._ended
        certain = times < self._latest[open_].min() if open_.any() else np.full(len(times), True)
        if not certain.any():
            return
        chosen = np.flatnonzero(certain)
        order = chosen[np.lexsort((chosen, places[chosen], times[chosen]))]
        whole = pa.Table.from_batches(self._waiting)
        yield from whole.take(pa.array(order)).combine_chunks().to_batches()
        self.counts -= np.bincount(places[chosen], minlength=len(self.counts))
        left = np.flatnonzero(~certain)
        self._waiting = (
            whole.take(pa.array(left)).combine_chunks().to_batches() if len(left) else []
        )
        self._places, self._times = ([places[left]], [times[left]]) if len(left) else ([], [])
