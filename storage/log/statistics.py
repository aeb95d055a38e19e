"""What can be said of a log at a glance: its extent, its types, and what is odd about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import duckdb
import numpy as np
import pyarrow as pa

from storage.db.query import rows, utc
from storage.log import irregularities
from storage.plural import counted
from storage.workspace.workspace import read_fact

_IN_STREAMS = {
    "revision jumps": "whose revision jumps over others of its stream",
    "revision repeats": "whose revision its stream had before",
}
_BACKWARDS = "time runs backwards"


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
    without_time: int
    time_expected: bool
    """A column of the source is mapped to the time."""
    repeated_ids: int
    """Events whose id an earlier event has."""
    backwards: int
    """Events whose time is earlier than that of the event before."""
    irregular: Mapping[str, int] = field(default_factory=dict)
    """How many of each kind of `storage.log.irregularities` there are."""
    envelope: str = ""
    """The innermost format that was recognised; every record in it has a type."""

    def oddities(self) -> list[str]:
        """A sentence for each thing that a person should know before trusting the order."""
        found = []
        if self.envelope and (other := self.types.get("–", 0)):
            are = "record is" if other == 1 else "records are"
            found.append(
                f"{other:,} {are} in another format than {self.envelope}, and kept whole as data."
            )
        if self.rejected:
            found.append(f"{counted(self.rejected, 'line')} rejected; see the table rejects.")
        if self.without_time and (self.without_time < self.events or self.time_expected):
            found.append(f"{counted(self.without_time, 'event')} without a time that can be read.")
        if self.repeated_ids:
            found.append(f"{counted(self.repeated_ids, 'event')} with the id of an earlier one.")
        for kind, said in _IN_STREAMS.items():
            if count := self.irregular.get(kind):
                found.append(f"{counted(count, 'event')} {said}; refold irregularities lists them.")
        if self.backwards or self.irregular.get(_BACKWARDS):
            own = self.irregular.get(_BACKWARDS, 0)
            of_own = f" ({own:,} of them than the one before in its stream)" if own else ""
            found.append(
                f"{counted(max(self.backwards, own), 'event')} earlier in time than the one before"
                f"{of_own}; the order of the lines is kept."
            )
        return found


def of_log(connection: duckdb.DuckDBPyConnection) -> LogStatistics:
    """Count; a few scans over narrow columns."""
    events, streams, ids, with_id, without_time, first, last = rows(
        connection,
        "SELECT count(*) AS a, count(DISTINCT stream) AS b, count(DISTINCT id) AS c,"
        " count(id) AS d, count(*) - count(time) AS e,"
        " epoch_us(min(time)) AS f, epoch_us(max(time)) AS g FROM events",
    )[0].values()
    types = connection.execute(
        "SELECT coalesce(type, '–'), count(*) FROM events GROUP BY ALL ORDER BY 2 DESC, 1"
    ).fetchall()
    mapping = read_fact(connection, "mapping") or {}
    envelopes = mapping.get("envelopes") or [""]
    (rejected,) = connection.execute("SELECT count(*) FROM rejects").fetchall()[0]
    return LogStatistics(
        events=events,
        streams=streams,
        types=dict(types),
        rejected=rejected,
        first_time=utc(first),
        last_time=utc(last),
        without_time=without_time,
        time_expected="time" in mapping.get("fields", {}),
        repeated_ids=with_id - ids,
        backwards=_backwards(connection),
        irregular=irregularities.of_connection(connection),
        envelope=envelopes[-1],
    )


def _backwards(connection: duckdb.DuckDBPyConnection) -> int:
    """Times that run backwards; a stream of numbers, as a window over the log would sort it."""
    count, previous = 0, np.empty(0, dtype=np.int64)
    relation = connection.sql("SELECT time FROM events WHERE time IS NOT NULL")
    for batch in relation.to_arrow_reader(1_000_000):
        micros = batch["time"].cast(pa.int64()).to_numpy()
        count += int(np.count_nonzero(np.diff(micros, prepend=previous) < 0))
        previous = micros[-1:]
    return count
