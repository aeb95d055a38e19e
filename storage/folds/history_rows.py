"""Rows of the table `history`: every change of every document of one fold.

The state of a key at a position is that of its last change at or before the position. States are JSON
text; None stands for a document that doesn't exist. A row of a large document is `in_parts`: its state
is stored in the table `parts`.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from storage.coordinates.fold_scope import FoldScope
from storage.db.query import fetch_arrow
from storage.folds.change_pages import split_changes
from storage.folds.key_bucket import compute_bucket, is_in_buckets_sql
from storage.folds.key_selection import KeySelection
from storage.workspace import document_parts
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa

_PAGE_DOCUMENTS = 2_048
"""Documents in one batch of a scan; few, because they may be long."""
_LONG_DIGITS_PATTERN = r"[0-9.]{17,}|\.[0-9]*0([^0-9]|$)"


class ChangeRow(NamedTuple):
    """One change of a document whose key is known."""

    offset: int
    number: int
    """The number of the change in the fold."""
    in_parts: bool
    state: str | None


class KeyedChangeRow(NamedTuple):
    """One change of any document."""

    key: str
    change: ChangeRow
    previous: int | None
    """The number of the document's previous change; None if there is none."""


class StepRow(NamedTuple):
    """A change of a document whose key is known, with the state before it."""

    change: ChangeRow
    previous: int | None
    """The number of the document's previous change; None if there is none."""
    was_in_parts: bool
    state_before: str | None


class HistoryRows:
    """Reads the changes of one fold."""

    def __init__(self, workspace: Workspace, scope: FoldScope, first_offset: int = 0) -> None:
        """Rows before `first_offset` are initial states and not changes."""
        self._workspace = workspace
        self._scope = scope
        self._is_change_sql = f'"offset" >= {int(first_offset)}'

    def read_last_changes(self, key: str, until: int, count: int) -> list[ChangeRow]:
        """Return the last changes of a document up to an offset, newest first."""
        return self._read_changes(
            key, f'"offset" <= {int(until)} ORDER BY "offset" DESC LIMIT {int(count)}'
        )

    def find_next_offset(self, key: str, offset: int) -> int | None:
        """Return the offset of the document's next change after an offset."""
        rows = self._read_changes(key, f'"offset" > {int(offset)} ORDER BY "offset" LIMIT 1')
        return rows[0].offset if rows else None

    def find_previous_offset(self, key: str, offset: int) -> int | None:
        """Return the offset of the document's last change before an offset."""
        rows = self._read_changes(
            key,
            f'"offset" < {int(offset)} AND {self._is_change_sql} ORDER BY "offset" DESC LIMIT 1',
        )
        return rows[0].offset if rows else None

    def read_states(self, offsets: Sequence[int]) -> dict[tuple[int, str], str | None]:
        """Return the states after the changes at these offsets, by offset and key."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT "offset", key, state FROM history WHERE {self._scope.condition}'
                f' AND "offset" IN ({", ".join(str(int(offset)) for offset in offsets)})'
            ).fetchall()
        return {(offset, key): state for offset, key, state in rows}

    def read_changes_between(self, first: int, last: int) -> list[KeyedChangeRow]:
        """Return the changes of the events from `first` to `last`, in the order of offset and key."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                'SELECT key, "offset", change, in_parts, state, previous FROM history'
                f' WHERE {self._scope.condition} AND "offset" BETWEEN ? AND ? ORDER BY "offset", key',
                [first, last],
            ).fetchall()
        return [KeyedChangeRow(key, ChangeRow(*row), previous) for key, *row, previous in rows]

    def read_last_change_of_each(self, keys: Sequence[str], before: int) -> dict[str, ChangeRow]:
        """Return the last change of each of a few documents before an offset."""
        if not keys:
            return {}
        with self._workspace.reading() as connection:
            rows = connection.execute(
                'WITH last AS (SELECT key, max("offset") AS "offset" FROM history'
                f" WHERE {self._scope.condition} AND {is_in_buckets_sql(keys)}"
                f" AND key IN ({', '.join('?' * len(keys))})"
                f' AND "offset" < {int(before)} GROUP BY key)'
                ' SELECT key, "offset", change, in_parts, state FROM history'
                f' JOIN last USING (key, "offset") WHERE {self._scope.condition}',
                list(keys),
            ).fetchall()
        return {key: ChangeRow(*row) for key, *row in rows}

    def find_keys_at(self, offset: int) -> list[str]:
        """Return the keys of the documents that one event changed, sorted."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT key FROM history WHERE {self._scope.condition} AND "offset" = ?'
                f" AND {self._is_change_sql} ORDER BY key",
                [offset],
            ).fetchall()
        return [key for (key,) in rows]

    def iterate_steps(
        self,
        key: str,
        pointer: str,
        *,
        after: int,
        until: int,
        backwards: bool,
        may_be_in_parts: bool,
    ) -> Iterator[StepRow]:
        """Yield a document's changes that may have changed the value at a JSON pointer.

        Covers the events after offset `after` up to `until`. A change between two states in parts is
        left out, because its values are in the table `parts`. Scans the document's changes page by
        page.
        """
        of_document = (
            f"FROM history WHERE {self._scope.condition} AND bucket = {compute_bucket(key)}"
            f' AND key = $key AND "offset" <= {int(until)}'
        )
        query = (
            'SELECT "offset", change, in_parts, state, before, was_in_parts, earlier'
            ' FROM (SELECT "offset", change, in_parts, state, lag(state) OVER so_far AS earlier,'
            " coalesce(lag(in_parts) OVER so_far, false) AS was_in_parts, previous AS before"
            f' {of_document} AND "offset" BETWEEN $before AND $last'
            ' WINDOW so_far AS (ORDER BY "offset"))'
            f' WHERE "offset" >= $first AND {self._is_change_sql}'
            f" AND ({_may_differ_sql(pointer, may_be_in_parts=may_be_in_parts)})"
            f' ORDER BY "offset" {"DESC" if backwards else "ASC"}'
        )
        parameters = {"key": key, **({"path": pointer} if pointer else {})}
        # One connection for all pages, so that nothing can rewrite the file between them.
        with self._workspace.reading() as connection:

            def average_bytes_from(first: int) -> float:
                ((size,),) = connection.execute(
                    f'SELECT avg(strlen(state)) {of_document} AND "offset" >= {int(first)}',
                    {"key": key},
                ).fetchall()
                return size or 0.0

            offsets = [
                offset
                for (offset,) in connection.execute(
                    f'SELECT "offset" {of_document} ORDER BY "offset"', {"key": key}
                ).fetchall()
            ]
            for page in split_changes(offsets, after, average_bytes_from, backwards=backwards):
                for row in connection.execute(query, {**parameters, **page}).fetchall():
                    yield StepRow(ChangeRow(*row[:4]), *row[4:])

    def iterate_documents_at(
        self, offset: int, *, may_be_in_parts: bool
    ) -> "Iterator[pa.RecordBatch]":
        """Yield all documents that exist at a position, in the order of their creation.

        The batches have the columns `key`, `offset` and `state`. Scans the history.
        """
        latest = self.latest_states_sql(offset, may_be_in_parts=may_be_in_parts)
        with self._workspace.reading() as connection:
            relation = connection.sql(
                f'SELECT h.key, h."offset", h.state FROM documents AS d JOIN ({latest}) AS h'
                f" ON h.key = d.key WHERE {self._scope.condition_on('d')} AND h.state IS NOT NULL"
                " ORDER BY d.ordinal"
            )
            yield from relation.to_arrow_reader(_PAGE_DOCUMENTS)

    def iterate_differences(
        self, start: int, end: int, *, may_be_in_parts: bool
    ) -> Iterator[tuple[str, str | None, str | None]]:
        """Yield the documents that changed between two positions: key, state at `start`, state at `end`.

        `start` is the earlier position. Scans the states up to `end`.
        """
        before = self.latest_states_sql(start, may_be_in_parts=may_be_in_parts)
        after = self.latest_states_sql(end, may_be_in_parts=may_be_in_parts)
        with self._workspace.reading() as connection:
            relation = connection.sql(
                f"WITH after AS ({after}), before AS ({before})"
                " SELECT after.key AS key, before.state AS old, after.state AS new"
                " FROM after LEFT JOIN before ON before.key = after.key"
                f' WHERE after."offset" > {int(start)} ORDER BY after."offset", after.key'
            )
            for batch in relation.to_arrow_reader(_PAGE_DOCUMENTS):
                for row in batch.to_pylist():
                    yield row["key"], row["old"], row["new"]

    def latest_states_sql(self, offset: int, *, may_be_in_parts: bool) -> str:
        """Return SQL for the last state of each document at an offset: `key`, `offset`, `state`."""
        condition = f'({self._scope.condition_on("h")} AND (h."offset" <= {int(offset)}))'
        # The struct is there because arg_max skips NULL, the state of a deleted document.
        latest = (
            'SELECT h.key, max(h."offset") AS "offset", arg_max(struct_pack(s := h.state,'
            ' p := h.in_parts), h."offset") AS latest'
            f" FROM history AS h WHERE {condition} GROUP BY h.key"
        )
        if not may_be_in_parts:
            return f'SELECT key, "offset", latest.s AS state FROM ({latest})'
        return (
            'SELECT d.key, d."offset", CASE WHEN d.latest.p THEN w.state ELSE d.latest.s END AS state'
            f" FROM ({latest}) AS d LEFT JOIN ({document_parts.documents_sql(condition)}) AS w"
            " ON w.key = d.key"
        )

    def has_value(self, pointer: str) -> bool:
        """Return whether any state that is stored whole has a value at a JSON pointer."""
        with self._workspace.reading() as connection:
            found = connection.execute(
                f"SELECT 1 FROM history WHERE {self._scope.condition}"
                " AND json_extract(state, ?) IS NOT NULL LIMIT 1",
                [pointer],
            ).fetchall()
        return bool(found)

    def count_changes(self, since: int | None = None, selection: KeySelection | None = None) -> int:
        """Return the number of stored changes, at or after an offset, of the selected documents."""
        selection = selection or KeySelection(None)
        since_sql = "true" if since is None else f'"offset" >= {int(since)}'
        with self._workspace.reading() as connection:
            selection.register(connection)
            ((count,),) = connection.execute(
                f"SELECT count(*) FROM history WHERE {self._scope.condition} AND {since_sql}"
                f" AND {selection.condition} AND {selection.bucket_condition}"
            ).fetchall()
        return int(count)

    def read_changes_of(self, keys: Collection[str]) -> "pa.Table":
        """Return all changes of these documents in order: `key`, `offset`, `state`."""
        selection = KeySelection(keys)
        with self._workspace.reading() as connection:
            selection.register(connection)
            return fetch_arrow(
                connection,
                f'SELECT key, "offset", state FROM history WHERE {self._scope.condition}'
                f" AND {selection.condition} ORDER BY key, change",
            )

    def read_latest_states(self, keys: Collection[str], before: int) -> "pa.Table":
        """Return the last change of each document before an offset: `key`, `change`, `state`,
        `in_parts`."""
        selection = KeySelection(keys)
        with self._workspace.reading() as connection:
            selection.register(connection)
            return fetch_arrow(
                connection,
                "SELECT key, change, state, in_parts FROM history SEMI JOIN wanted USING (key)"
                f' WHERE {self._scope.condition} AND "offset" < ? QUALIFY row_number() OVER'
                " (PARTITION BY key ORDER BY change DESC) = 1",
                [before],
            )

    def read_latest_change_numbers(self, keys: Collection[str], before: int) -> dict[str, int]:
        """Return the number of the last change of each document before an offset, by key."""
        selection = KeySelection(keys)
        with self._workspace.reading() as connection:
            selection.register(connection)
            rows = connection.execute(
                "SELECT key, max(change) FROM history SEMI JOIN wanted USING (key)"
                f' WHERE {self._scope.condition} AND "offset" < ? AND {selection.bucket_condition}'
                " GROUP BY key",
                [before],
            ).fetchall()
        return dict(rows)

    def read_change_numbers(self, since: int, keys_sql: str) -> "pa.Table":
        """Return the numbers of the changes at or after an offset (`change`), of the documents whose
        keys a query returns."""
        with self._workspace.reading() as connection:
            return fetch_arrow(
                connection,
                f"SELECT change FROM history WHERE {self._scope.condition}"
                f' AND "offset" >= {int(since)} AND key IN ({keys_sql})',
            )

    def read_keys_of_changes(self, changes: "pa.Table", first: int, last: int) -> "pa.Table":
        """Return `changes` with offset and key: `offset`, `key`, `holds`, in the order of the log.

        `changes` has the columns `change` (the number) and `holds`; `first` and `last` are the offsets
        between which these changes lie.
        """
        with self._workspace.reading() as connection:
            connection.register("wanted_changes", changes)
            try:
                return fetch_arrow(
                    connection,
                    'SELECT "offset", key, holds FROM history JOIN wanted_changes USING (change)'
                    f' WHERE {self._scope.condition} AND "offset" BETWEEN ? AND ?'
                    ' ORDER BY "offset", key',
                    [first, last],
                )
            finally:
                connection.unregister("wanted_changes")

    def _read_changes(self, key: str, condition: str) -> list[ChangeRow]:
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT "offset", change, in_parts, state FROM history WHERE {self._scope.condition}'
                f" AND bucket = {compute_bucket(key)} AND key = ? AND {condition}",
                [key],
            ).fetchall()
        return [ChangeRow(*row) for row in rows]


def _may_differ_sql(pointer: str, *, may_be_in_parts: bool) -> str:
    """Return the SQL condition for steps that may have changed the value at a JSON pointer."""
    condition = "true"
    if pointer:
        value, earlier = (f"json_extract({name}, $path)" for name in ("state", "earlier"))
        # Extracting loses digits beyond those of a double, and trailing zeros.
        both = "concat(state, ' ', earlier)"
        condition = f"{value} IS DISTINCT FROM {earlier} OR regexp_matches({both}, '{_LONG_DIGITS_PATTERN}')"
    if not may_be_in_parts:
        return condition
    # If the state before was not in parts, every part counts as changed.
    return f"NOT (in_parts AND was_in_parts) AND (in_parts OR was_in_parts OR {condition})"
