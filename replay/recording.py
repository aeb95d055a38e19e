"""Writing a history: what a worker said of its batches, into the workspace's tables.

Rows wait in Arrow until there are enough of them; each flush is one transaction, sorted by bucket,
and says in `folds` how far it goes. So what is folded so far can be travelled, and a kill loses
what was not flushed, never half of it.
"""

import json
from collections import Counter
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from replay.process import Frame
from storage import schema
from storage.workspace import Workspace

BUCKET = "CAST(md5_number(key) & 4294967295 AS UINTEGER)"
"""SQL for a key's bucket; see `storage.schema.HISTORY`."""

_ARROW = {"BIGINT": pa.int64(), "VARCHAR": pa.string(), "BOOLEAN": pa.bool_()}


class OvertakenError(Exception):
    """Another process folds the same projection, and was the first to write."""


class Recording:
    """The history of one projection on one timeline, while it is being folded."""

    def __init__(self, workspace: Workspace, number: int, timeline: str) -> None:
        self._workspace = workspace
        self._number = number
        self._timeline = timeline
        self._history: list[pa.Table] = []
        self._born: list[pa.Table] = []
        self._routes: list[pa.Table] = []
        self._failures: list[dict[str, Any]] = []
        self._turns: list[dict[str, Any]] = []
        self._unhandled: Counter[str] = Counter()
        self.plain: bool | None = None
        """See `Folded.plain`; nobody knows before the worker's end."""
        self.kept = 0
        """How far the workspace says that it is folded, if nobody else has folded on."""
        self.folded = 0
        self.keys = 0
        self.changes = 0
        self.failures = 0
        self._skipped = 0
        self._seconds = 0.0
        self.waiting = 0
        """Changes that are not flushed yet."""

    def resume(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Go on where the last flush ended."""
        rows = connection.execute(
            "SELECT folded, keys, changes, failures, skipped, unhandled, seconds FROM folds"
            " WHERE projection = ? AND timeline = ?",
            [self._number, self._timeline],
        ).fetchall()
        for row in rows:
            self.folded, self.keys, self.changes, self.failures, self._skipped = row[:5]
            self._unhandled = Counter(json.loads(row[5]))
            self._seconds = row[6]
            self.kept = self.folded

    def take(self, frame: Frame, offsets: pa.Array, streams: pa.Array) -> None:
        """Keep what a worker said of one batch; `offsets` and `streams` are the batch's columns."""
        rows = _ints(frame.parts[0], np.int32)
        at = offsets.take(rows)
        keys = (
            _coded(frame.parts[4], frame.parts[5]) if len(frame.parts) > 4 else streams.take(rows)
        )
        states = _texts(_ints(frame.parts[1], np.int32).to_numpy(), frame.parts[2])
        changes = np.arange(self.changes, self.changes + len(rows))
        previous = np.frombuffer(frame.parts[3], dtype=np.int64)
        first = previous < 0
        columns = {"key": keys, "offset": at, "change": changes, "state": states}
        columns["previous"] = pa.array(previous, mask=first)
        self._history.append(pa.table(columns))
        born = pa.array(np.flatnonzero(first))
        ordinals = pa.array(np.arange(self.keys, self.keys + len(born)))
        self._born.append(
            pa.table({"ordinal": ordinals, "key": keys.take(born), "born": at.take(born)})
        )
        if len(frame.parts) > 6:
            reached = offsets.take(_ints(frame.parts[6], np.int32))
            routed = _coded(frame.parts[7], frame.parts[8])
            self._routes.append(pa.table({"offset": reached, "key": routed}))
        self._failures.extend(frame.header["failures"])
        self._turns.extend(frame.header["turns"])
        self._unhandled.update(frame.header["skipped"])
        self._skipped += sum(frame.header["skipped"].values())
        self.failures += len(frame.header["failures"])
        self.keys += len(born)
        self.changes += len(rows)
        self.waiting += len(rows)
        if len(offsets):
            self.folded = offsets[-1].as_py() + 1

    def flush(self, seconds: float) -> None:
        """Write everything that waits; `seconds` is the time spent since the last flush.

        Raises `OvertakenError`, and writes nothing, where another process has folded on meanwhile.
        """
        self._seconds += seconds
        # The other core is the worker's.
        with self._workspace.writing(threads=1) as connection:
            names = [self._number, self._timeline]
            there = connection.execute(
                "SELECT folded FROM folds WHERE projection = ? AND timeline = ?", names
            ).fetchall()
            if (there[0][0] if there else 0) != self.kept:
                raise OvertakenError
            if self.waiting:
                _insert(
                    connection,
                    f'INSERT INTO history SELECT ?, ?, {BUCKET} AS bucket, key, "offset", change,'
                    " previous, state FROM rows ORDER BY bucket, change",
                    names,
                    pa.concat_tables(self._history),
                )
                _insert(
                    connection,
                    "INSERT INTO documents SELECT ?, ?, ordinal, key, born FROM rows",
                    names,
                    pa.concat_tables(self._born),
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
            connection.execute("DELETE FROM folds WHERE projection = ? AND timeline = ?", names)
            connection.execute(
                "INSERT INTO folds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [*names, self.folded, self._skipped, json.dumps(self._unhandled), self.failures]
                + [self.keys, self.changes, self.plain, self._seconds],
            )
        self._history, self._born, self._routes = [], [], []
        self._failures, self._turns = [], []
        self.waiting = 0
        self.kept = self.folded


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
    told: list[dict[str, Any]],
) -> None:
    """Rows that a worker told of one by one, as there are few."""
    if told:
        fields = [(name, _ARROW[kind]) for name, kind in table.columns[len(names) :]]
        rows = pa.table({name: pa.array([t[name] for t in told], kind) for name, kind in fields})
        columns = ", ".join(f'"{name}"' for name, _ in fields)
        _insert(
            connection, f"INSERT INTO {table.name} SELECT ?, ?, {columns} FROM rows", names, rows
        )


def _ints(data: bytes, kind: Any) -> pa.Array:
    return pa.array(np.frombuffer(data, dtype=kind))


def _coded(names: bytes, codes: bytes) -> pa.Array:
    return pa.array(json.loads(names), pa.string()).take(_ints(codes, np.int32))


def _texts(lengths: Any, data: bytes) -> pa.Array:
    """Texts of these lengths out of a blob; a length of -1 is NULL."""
    ends = np.cumsum(np.maximum(lengths, 0), dtype=np.int64)
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    texts = pa.LargeStringArray.from_buffers(
        len(lengths), pa.py_buffer(offsets), pa.py_buffer(data)
    )
    missing = lengths < 0
    return pc.if_else(pa.array(~missing), texts, None) if missing.any() else texts
