"""Merges several partitions into one order: by timestamp, with the order inside each partition kept.

The effective time of a record is the latest timestamp in its partition up to it, so sorting never
reverses the order of a partition. At equal times, the partition that was named first comes first.
Therefore the same log always gives the same order, however its batches arrive.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

_LOWEST_TIME = np.iinfo(np.int64).min


class PartitionMerge:
    """Takes records partition by partition and returns them in one order."""

    def __init__(self, partition_count: int) -> None:
        self._latest_time = np.full(partition_count, _LOWEST_TIME, dtype=np.int64)
        self._is_ended = np.zeros(partition_count, dtype=bool)
        self._waiting_batches: list[pa.RecordBatch] = []
        self._waiting_partitions: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self._waiting_times: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        self.waiting_counts = np.zeros(partition_count, dtype=np.int64)
        """The number of records of each partition that wait for other partitions."""

    def add_records(
        self,
        records: pa.RecordBatch,
        partition_numbers: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    ) -> None:
        """Add records with a column `timestamp`; `partition_numbers` has the partition of each record."""
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
        """Declare that a partition has no more records."""
        self._is_ended[partition] = True

    def take_ready(self) -> Iterator[pa.RecordBatch]:
        """Yield the records that no later record can precede."""
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
