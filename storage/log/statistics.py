"""Counts over a log for its summary: extent, event types, rejects and irregularities."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import numpy as np
import pyarrow as pa

from storage.db.query import fetch_rows, time_from_micros
from storage.log import irregularities
from storage.plural import format_count
from storage.workspace.metadata import read_metadata

_STREAM_ODDITIES = {
    "revision jumps": "whose revision jumps over others of its stream",
    "revision repeats": "whose revision its stream had before",
}
_BACKWARD_KIND = "time runs backwards"


@dataclass(frozen=True)
class LogStatistics:
    """Counts over a whole log."""

    events: int
    streams: int
    types: dict[str, int]
    """Events of each type, the most frequent first."""
    rejected: int
    first_time: datetime | None
    last_time: datetime | None
    without_time_count: int
    is_time_mapped: bool
    """Whether a field of the source is mapped to the time."""
    repeated_id_count: int
    """Events whose id an earlier event already has."""
    backward_time_count: int
    """Events whose time is earlier than that of the event before."""
    irregularity_counts: Mapping[str, int] = field(default_factory=dict)
    """Counts by kind; see `storage.log.irregularities`."""
    envelope: str = ""
    """The innermost recognised envelope; every record in that format has a type."""

    def describe_oddities(self) -> list[str]:
        """Return a sentence for each oddity that a person should know before trusting the log's order."""
        found = []
        if self.envelope and (other := self.types.get("–", 0)):
            are = "record is" if other == 1 else "records are"
            found.append(
                f"{other:,} {are} in another format than {self.envelope}, kept whole as data."
            )
        if self.rejected:
            found.append(f"{format_count(self.rejected, 'line')} rejected; see the table rejects.")
        if self.without_time_count and (
            self.without_time_count < self.events or self.is_time_mapped
        ):
            found.append(
                f"{format_count(self.without_time_count, 'event')} without a time that can be read."
            )
        if self.repeated_id_count:
            found.append(
                f"{format_count(self.repeated_id_count, 'event')} with the id of an earlier one."
            )
        for kind, clause in _STREAM_ODDITIES.items():
            if count := self.irregularity_counts.get(kind):
                found.append(
                    f"{format_count(count, 'event')} {clause}; refold irregularities lists them."
                )
        if self.backward_time_count or self.irregularity_counts.get(_BACKWARD_KIND):
            own = self.irregularity_counts.get(_BACKWARD_KIND, 0)
            of_own = f" ({own:,} of them than the one before in its stream)" if own else ""
            found.append(
                f"{format_count(max(self.backward_time_count, own), 'event')} earlier in time"
                " than the one before"
                f"{of_own}; the order of the lines is kept."
            )
        return found


def read_statistics(connection: duckdb.DuckDBPyConnection) -> LogStatistics:
    """Return the statistics of a log; scans a few narrow columns."""
    events, streams, ids, with_id, without_time, first, last = fetch_rows(
        connection,
        "SELECT count(*) AS a, count(DISTINCT stream) AS b, count(DISTINCT id) AS c,"
        " count(id) AS d, count(*) - count(time) AS e,"
        " epoch_us(min(time)) AS f, epoch_us(max(time)) AS g FROM events",
    )[0].values()
    types = connection.execute(
        "SELECT coalesce(type, '–'), count(*) FROM events GROUP BY ALL ORDER BY 2 DESC, 1"
    ).fetchall()
    mapping = read_metadata(connection, "mapping") or {}
    envelopes = mapping.get("envelopes") or [""]
    (rejected,) = connection.execute("SELECT count(*) FROM rejects").fetchall()[0]
    return LogStatistics(
        events=events,
        streams=streams,
        types=dict(types),
        rejected=rejected,
        first_time=time_from_micros(first),
        last_time=time_from_micros(last),
        without_time_count=without_time,
        is_time_mapped="time" in mapping.get("fields", {}),
        repeated_id_count=with_id - ids,
        backward_time_count=_count_backward_times(connection),
        irregularity_counts=irregularities.read_counts(connection),
        envelope=envelopes[-1],
    )


def _count_backward_times(connection: duckdb.DuckDBPyConnection) -> int:
    """Count events that are earlier than the one before; streams times, because a SQL window would sort."""
    count, previous = 0, np.empty(0, dtype=np.int64)
    relation = connection.sql("SELECT time FROM events WHERE time IS NOT NULL")
    for batch in relation.to_arrow_reader(1_000_000):
        micros = batch["time"].cast(pa.int64()).to_numpy()
        count += int(np.count_nonzero(np.diff(micros, prepend=previous) < 0))
        previous = micros[-1:]
    return count
