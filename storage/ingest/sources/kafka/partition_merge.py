"""One order for several partitions: by timestamp, each partition's own order kept.

A record counts as late as the latest one before it in its partition; so sorting never turns a partition's
order round. Of equal ones, the partition that was named first comes first: the same log gives the same
order, however its parts arrive.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

_LOWEST_TIME = np.iinfo(np.int64).min


class PartitionMerge:
    """Records by partition go in, in their order; records in one order come out."""

    def __init__(self, partition_count: int) -> None:
        self._latest_time = np.full(partition_count, _LOWEST_TIME, dtype=np.int64)
        self._is_ended = np.zeros(partition_count, dtype=bool)
        self._waiting_batches: list[pa.RecordBatch] = []
        self._waiting_partitions: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self._waiting_times: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self.waiting_counts = np.zeros(partition_count, dtype=np.int64)
        """How many records of each partition wait for others."""

    def add_records(
        self,
        records: pa.RecordBatch,
        partition_numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    ) -> None:
        """Records with a column `timestamp`, and the number of the partition of each."""
        times = records["timestamp"].to_numpy(zero_copy_only=False).astype(np.int64)
        effective_times = np.empty_like(times)
        for partition in np.unique(partition_numbers):
            rows = np.flatnonzero(partition_numbers == partition)
            running = np.maximum(np.maximum.accumulate(times[rows]), self._latest_time[partition])
            effective_times[rows] = running
            self._latest_time[partition] = running[-1]
            self.waiting_counts[partition] += len(rows)
        self._waiting_batches.append(records)
        self._waiting_partitions.append(partition_numbers)
        self._waiting_times.append(effective_times)

    def end_partition(self, partition: int) -> None:
        """A partition has no more records."""
        self._is_ended[partition] = True

    def take_ready(self) -> Iterator[pa.RecordBatch]:
        """What no record that is still to come can precede."""
        if not self._waiting_batches:
            return
        times, partitions = (
            np.concatenate(self._waiting_times),
            np.concatenate(self._waiting_partitions),
        )
        open_ = ~self._is_ended
        certain = (
            times < self._latest_time[open_].min() if open_.any() else np.full(len(times), True)
        )
        if not certain.any():
            return
        chosen = np.flatnonzero(certain)
        order = chosen[np.lexsort((chosen, partitions[chosen], times[chosen]))]
        whole = pa.Table.from_batches(self._waiting_batches)
        yield from whole.take(pa.array(order)).combine_chunks().to_batches()
        self.waiting_counts -= np.bincount(partitions[chosen], minlength=len(self.waiting_counts))
        kept_rows = np.flatnonzero(~certain)
        self._waiting_batches = (
            whole.take(pa.array(kept_rows)).combine_chunks().to_batches() if len(kept_rows) else []
        )
        self._waiting_partitions, self._waiting_times = (
            ([partitions[kept_rows]], [times[kept_rows]]) if len(kept_rows) else ([], [])
        )
