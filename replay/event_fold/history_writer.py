"""Writing a history: what a worker said of its batches, into the workspace's tables.

Rows wait in Arrow until there are enough of them; each flush is one transaction, sorted by bucket,
and says in `folds` how far it goes. So what is folded so far can be travelled, and a kill loses
what was not flushed, never half of it.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.query.number_columns import KeptNumbers
from replay.worker_host.batch_result import Told
from storage.workspace import schema
from storage.workspace.workspace import Workspace

_MOST_WAITING = 400_000
"""Changes, and parts, that wait for a flush."""
_MOST_WAITING_BYTES = 128_000_000
"""Of their states: sorting and packing more takes more memory than a writer may take."""

BUCKET = "CAST(md5_number(key) & 4294967295 AS UINTEGER)"
"""SQL for a key's bucket; see `storage.workspace.schema.HISTORY`."""

_ARROW = {
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
}


class OvertakenError(Exception):
    """Another process folds the same projection, and was the first to write."""


class Recording:
    """The history of one projection on one timeline, while it is being folded."""

    def __init__(
        self,
        workspace: Workspace,
        number: int,
        answers: int = 0,
        clean: Callable[[str], str] = str,
        generation: str | None = None,
    ) -> None:
        """`answers` is the version of the recordings that calls are answered from, `clean` takes
        secrets out of what handlers raised and printed, and `generation` is that of the events."""
        self._answers = answers
        self._generation = generation
        self._flushed: tuple[Any, ...] | None = None
        """What identifies the last flush in the file; None where there was none."""
        self.room: str | None = None
        """How the worker was shut in."""
        self._clean = clean
        self._workspace = workspace
        self._number = number
        self._timeline = workspace.timeline
        self._history: list[pa.Table] = []
        self._parts: list[pa.Table] = []
        self._born: list[pa.Table] = []
        self._routes: list[pa.Table] = []
        self._failures: list[Mapping[str, Any]] = []
        self._turns: list[Mapping[str, Any]] = []
        self._printed: list[Mapping[str, Any]] = []
        self._upcasts: list[Mapping[str, Any]] = []
        self._calls: list[pa.Table] = []
        self._decided: list[Mapping[str, Any]] = []
        self._reads: list[Mapping[str, Any]] = []
        self.unhandled: Counter[str] = Counter()
        self.plain: bool | None = None
        """See `Folded.plain`; nobody knows before the worker's end."""
        self.kept = 0
        """How far the workspace says that it is folded, if nobody else has folded on."""
        self.first = 0
        """See `Folded.first`."""
        self.folded = 0
        self.keys = 0
        self.changes = 0
        self.parts = 0
        """Rows of documents that are kept in parts."""
        self._numbers = KeptNumbers()
        self.calls = 0
        """Calls to the outside, and attempts to get there."""
        self.failures = 0
        self.skipped = 0
        self._seconds = 0.0
        self.waiting = 0
        """Changes, and parts, that are not flushed yet."""
        self._waiting_bytes = 0

    def resume(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Go on where the last flush ended."""
        rows = connection.execute(
            "SELECT first, folded, keys, changes, parts, failures, skipped, unhandled, seconds, calls,"
            " numbers FROM folds"
            " WHERE projection = ? AND timeline = ?",
            [self._number, self._timeline],
        ).fetchall()
        for row in rows:
            self.first, self.folded, self.keys, self.changes, self.parts, self.failures = row[:6]
            self.skipped, self.unhandled = row[6], Counter(json.loads(row[7]))
            self._seconds, self.calls = row[8:10]
            self._numbers = KeptNumbers(row[10])
            self.kept = self.folded
        self._flushed = flush_id(connection, self._names)

    def take(self, told: Told, until: int) -> None:
        """Keep what was told of a batch that ends before `until`."""
        rows = told.changes
        count = rows.num_rows
        previous = rows["previous"].to_numpy()
        first = previous < 0
        in_parts = rows["in_parts"]
        self._history.append(
            pa.table(
                {
                    "key": rows["key"],
                    "offset": rows["offset"],
                    "change": np.arange(self.changes, self.changes + count),
                    "state": pc.if_else(in_parts, "{}", rows["state"]),
                    "previous": pa.array(previous, mask=first),
                    "in_parts": in_parts,
                }
            )
        )
        if told.parts is not None:
            at = told.parts["row"]
            change = pc.add(at, self.changes)
            places = {
                "change": change,
                "key": rows["key"].take(at),
                "offset": rows["offset"].take(at),
            }
            columns = [told.parts[name] for name in ("part", "place", "state")]
            self._parts.append(
                pa.table({**places, **dict(zip(("part", "place", "state"), columns, strict=True))})
            )
            self.parts += len(at)
            self.waiting += len(at)
        born = pa.array(np.flatnonzero(first))
        ordinals = pa.array(np.arange(self.keys, self.keys + len(born)))
        keys, at = rows["key"].take(born), rows["offset"].take(born)
        self._born.append(pa.table({"ordinal": ordinals, "key": keys, "born": at}))
        if told.routes is not None:
            self._routes.append(told.routes.select(["offset", "key"]))
        self._failures.extend(self._cleaned(told.failures, "error", "traceback"))
        self._turns.extend(told.turns)
        self._printed.extend(self._cleaned(told.printed, "text"))
        self._upcasts.extend(told.upcasts)
        if told.calls is not None:
            self._calls.append(told.calls)
            self.calls += told.calls.num_rows
        self._decided.extend(self._cleaned(told.decided, "request", "stack"))
        self.calls += len(told.decided)
        self._reads += [
            {"offset": one["offset"], "key": one["key"], "read": name}
            for one in told.reads
            for name in one["read"]
        ]
        self.unhandled.update(told.skipped)
        self.skipped += sum(told.skipped.values())
        self.failures += len(told.failures)
        self.keys += len(born)
        self.changes += count
        self.waiting += count
        self._waiting_bytes += told.size
        self.folded = until

    @property
    def full(self) -> bool:
        """Whether so much waits that it is to be flushed."""
        return self.waiting >= _MOST_WAITING or self._waiting_bytes >= _MOST_WAITING_BYTES

    def _cleaned(self, found: Sequence[Mapping[str, Any]], *names: str) -> list[Mapping[str, Any]]:
        """What was told without its secrets, in the texts of these names."""
        return [
            {**one, **{name: self._clean(one[name]) for name in names if one[name]}}
            for one in found
        ]

    def flush(self, seconds: float, *, alone: bool = True) -> None:
        """Write everything that waits; `seconds` is the time spent since the last flush.

        It is `alone` where no worker goes on meanwhile, from which a core would be taken.

        Raises `OvertakenError`, and writes nothing, where another process has folded on meanwhile,
        and `StaleError` where the workspace was rewritten.
        """
        self._seconds += seconds
        with self._workspace.writing(alone=alone, generation=self._generation) as connection:
            self._begin(connection)
            self._write_rows(connection)
            self._write_born(connection)
            self._write_extent(connection)
            flushed = flush_id(connection, self._names)
        self._flushed = flushed
        self._history, self._parts, self._routes = [], [], []
        self._failures, self._turns, self._printed, self._upcasts = [], [], [], []
        self._calls, self._decided, self._reads = [], [], []
        self.waiting = self._waiting_bytes = 0
        self.kept = self.folded

    @property
    def _names(self) -> list[Any]:
        return [self._number, self._timeline]

    def _begin(self, connection: duckdb.DuckDBPyConnection) -> None:
        if flush_id(connection, self._names) != self._flushed:
            raise OvertakenError

    def _write_rows(self, connection: duckdb.DuckDBPyConnection) -> None:
        names = self._names
        if self._history:
            _insert(
                connection,
                "INSERT INTO history BY NAME SELECT ? AS projection, ? AS timeline,"
                f" {BUCKET} AS bucket, * FROM rows ORDER BY bucket, change",
                names,
                self._numbers.beside(connection, pa.concat_tables(self._history)),
            )
        if self._parts:
            _insert(
                connection,
                f'INSERT INTO parts SELECT ?, ?, {BUCKET} AS bucket, key, "offset", change,'
                " part, place, state FROM rows",
                names,
                pa.concat_tables(self._parts),
            )
        if self._routes:
            _insert(
                connection,
                'INSERT INTO routes SELECT ?, ?, "offset", key FROM rows',
                names,
                pa.concat_tables(self._routes),
            )
        _insert_told(connection, schema.FAILURES, names, self._failures)
        _insert_told(connection, schema.TURNS, names, self._turns)
        _insert_told(connection, schema.PRINTED, names, self._printed)
        _insert_told(connection, schema.UPCASTS, names, self._upcasts)
        _insert_told(connection, schema.DECISIONS, names, self._decided)
        _insert_told(connection, schema.READS, names, self._reads)
        if self._calls:
            _insert(
                connection,
                'INSERT INTO decisions BY NAME SELECT ? AS projection, ? AS timeline, "offset", key,'
                " ordinal, call, decision FROM rows",
                names,
                pa.concat_tables(self._calls),
            )

    def _write_born(self, connection: duckdb.DuckDBPyConnection) -> None:
        if self._born:
            self._insert_documents(connection, pa.concat_tables(self._born))
        self._born = []

    def _insert_documents(self, connection: duckdb.DuckDBPyConnection, born: pa.Table) -> None:
        """`born` has the columns `ordinal`, `key` and `born`."""
        query = "INSERT INTO documents SELECT ?, ?, ordinal, key, born FROM rows"
        _insert(connection, query, self._names, born)

    def _write_extent(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("DELETE FROM folds WHERE projection = ? AND timeline = ?", self._names)
        connection.execute(
            "INSERT INTO folds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [*self._names, self.first, self.folded, self.skipped, json.dumps(self.unhandled)]
            + [self.failures, self.keys, self.changes, self.parts, self.plain, self.calls]
            + [self._answers, self.room, self._numbers.text, self._seconds, self._workspace.digest],
        )


def flush_id(connection: duckdb.DuckDBPyConnection, names: list[Any]) -> tuple[Any, ...] | None:
    """What tells a flush from every other one; None before the first. Two processes take different
    times, so that a fold that another one began again is noticed even where it is equally long."""
    rows = connection.execute(
        "SELECT folded, changes, digest, seconds FROM folds WHERE projection = ? AND timeline = ?",
        names,
    ).fetchall()
    return tuple(rows[0]) if rows else None


def _insert(
    connection: duckdb.DuckDBPyConnection, query: str, names: list[Any], rows: pa.Table
) -> None:
    connection.register("rows", rows)
    connection.execute(query, names)
    connection.unregister("rows")


def _insert_told(
    connection: duckdb.DuckDBPyConnection,
    table: schema.Table,
    names: list[Any],
    told: list[Mapping[str, Any]],
) -> None:
    """Rows that a worker told of one by one, as there are few."""
    if told:
        fields = [(name, _ARROW[kind]) for name, kind in table.columns[len(names) :]]
        rows = pa.table({name: pa.array([t[name] for t in told], kind) for name, kind in fields})
        columns = ", ".join(f'"{name}"' for name, _ in fields)
        _insert(
            connection, f"INSERT INTO {table.name} SELECT ?, ?, {columns} FROM rows", names, rows
        )
