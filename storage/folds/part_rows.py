"""Rows of the table `parts`: the changes of large documents, which are stored in parts.

`storage.workspace.document_parts` says what a part is.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from storage.coordinates.fold_scope import FoldScope
from storage.db.query import fetch_arrow
from storage.folds.key_bucket import compute_bucket
from storage.quoting import quote_literal
from storage.workspace import document_parts
from storage.workspace.workspace import Workspace

if TYPE_CHECKING:
    import pyarrow as pa


class PartChangeRow(NamedTuple):
    """A part after one change of its document."""

    change: int
    part: str
    """A JSON pointer."""
    place: int | None
    """Its place among the members of its object; None if that didn't change."""
    state: str | None
    """JSON; None if the part was deleted."""


class PartStateRow(NamedTuple):
    """A part at a position."""

    part: str
    state: str | None
    place: int


class PartStepRow(NamedTuple):
    """A part before and after one change of its document."""

    offset: int
    part: str
    before: str | None
    after: str | None


class DocumentPartRows:
    """Reads the parts of one large document."""

    def __init__(self, workspace: Workspace, scope: FoldScope, key: str) -> None:
        self._workspace = workspace
        # In the parentheses in which DuckDB prints it; see `document_parts`.
        self._is_of_document_sql = (
            f"{scope.condition_on('h')} AND (h.bucket = {compute_bucket(key)})"
            f" AND (h.key = {quote_literal(key)})"
        )

    def read_json(self, change: int) -> str | None:
        """Return the whole document after a change; None if it is deleted."""
        documents = document_parts.documents_sql(self._until_change_sql(change))
        with self._workspace.reading() as connection:
            found = connection.execute(f"SELECT state FROM ({documents})").fetchall()
        return found[0][0] if found else None

    def read_live_parts(self, change: int) -> "pa.Table":
        """Return the parts that exist after a change: `part`, the last step of `place`, `state`.

        An object comes before its members.
        """
        live_parts = document_parts.live_parts_sql(self._until_change_sql(change))
        with self._workspace.reading() as connection:
            return fetch_arrow(
                connection,
                f"SELECT part, place[-1] AS place, state FROM ({live_parts}) ORDER BY place",
            )

    def read_live_parts_before(self, offset: int) -> "tuple[pa.Table, int]":
        """Return the parts that exist before an offset (`part`, all steps of `place`, `state`), and
        the highest place that any part had."""
        rows = f'({self._is_of_document_sql} AND (h."offset" < {int(offset)}))'
        with self._workspace.reading() as connection:
            live = fetch_arrow(
                connection,
                "SELECT part, place, state FROM"
                f" ({document_parts.live_parts_sql(rows)}) ORDER BY place",
            )
            ((last,),) = connection.execute(
                f"SELECT max(h.place[-1]) FROM parts AS h WHERE {rows}"
            ).fetchall()
        return live, last or 0

    def read_changes(self, column: str, first: int, last: int) -> list[PartChangeRow]:
        """Return the parts that changed from `first` to `last`, in the order of the log.

        `column` says whether these are change numbers (`change`) or offsets (`offset`).
        """
        with self._workspace.reading() as connection:
            rows = connection.execute(
                "SELECT h.change, h.part, h.place[-1], h.state FROM parts AS h"
                f' WHERE {self._is_of_document_sql} AND h."{column}" BETWEEN ? AND ?'
                " ORDER BY h.change, h.part",
                [first, last],
            ).fetchall()
        return [PartChangeRow(*row) for row in rows]

    def read_states_before(
        self, column: str, first: int, parts: Sequence[str]
    ) -> list[PartStateRow]:
        """Return the last state of each of these parts before `first`; see `read_changes`."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                "SELECT p.part, p.state, l.place FROM (SELECT arg_max(h.rowid, h.change) AS latest,"
                " arg_max(h.place[-1], h.change) AS place FROM parts AS h"
                f" WHERE {self._is_of_document_sql} AND list_contains(?, h.part)"
                f' AND h."{column}" < ? GROUP BY h.part) AS l JOIN parts AS p ON p.rowid = l.latest',
                [list(parts), first],
            ).fetchall()
        return [PartStateRow(*row) for row in rows]

    def iterate_steps(
        self,
        pointer: str,
        outer_pointers: Sequence[str],
        *,
        after: int,
        until: int,
        backwards: bool,
    ) -> Iterator[PartStepRow]:
        """Yield the changes of the parts at a JSON pointer, inside it, and of `outer_pointers`.

        Covers the events after offset `after` up to `until`.
        """
        order = "DESC" if backwards else "ASC"
        query = (
            'SELECT "offset", part, earlier, state FROM (SELECT h."offset", h.part, h.state,'
            " lag(h.state) OVER (PARTITION BY h.part ORDER BY h.change) AS earlier FROM parts AS h"
            f" WHERE {self._is_of_document_sql}"
            " AND (list_contains(?, h.part) OR starts_with(h.part, ?))"
            f' AND h."offset" <= ?) WHERE "offset" > ? ORDER BY "offset" {order}, part'
        )
        with self._workspace.reading() as connection:
            found = connection.execute(query, [list(outer_pointers), f"{pointer}/", until, after])
            for page in iter(lambda: found.fetchmany(10_000), []):
                for row in page:
                    yield PartStepRow(*row)

    def _until_change_sql(self, change: int) -> str:
        return f"({self._is_of_document_sql} AND (h.change <= {int(change)}))"


class PartRows:
    """Reads the parts of all large documents of one fold."""

    def __init__(self, workspace: Workspace, scope: FoldScope) -> None:
        self._workspace = workspace
        self._scope = scope

    def read_states(self, offsets: Sequence[int]) -> list[tuple[int, str, str, str]]:
        """Return the changed parts at these offsets that exist afterwards, by part: offset, key, part,
        state."""
        return self._fetch(
            f'SELECT "offset", key, part, state FROM parts WHERE {self._scope.condition}'
            f' AND "offset" IN ({", ".join(str(int(offset)) for offset in offsets)})'
            " AND state IS NOT NULL ORDER BY part"
        )

    def read_kinds(self, pointers: Sequence[str]) -> dict[str, tuple[bool, bool]]:
        """Return the parts among these JSON pointers: (was ever stored whole, was ever split further)."""
        rows = self._fetch(
            "SELECT part, bool_or(state <> '{}'), bool_or(state = '{}') FROM parts"
            f" WHERE {self._scope.condition} AND list_contains(?, part) GROUP BY part",
            list(pointers),
        )
        return {part: (bool(whole), bool(is_split)) for part, whole, is_split in rows}

    def has_value(self, part: str, pointer: str) -> bool:
        """Return whether a part ever had a value at a JSON pointer inside it."""
        return bool(
            self._fetch(
                f"SELECT 1 FROM parts WHERE {self._scope.condition} AND part = ?"
                " AND json_extract(state, ?) IS NOT NULL LIMIT 1",
                part,
                pointer,
            )
        )

    def _fetch(self, query: str, *parameters: Any) -> list[Any]:
        with self._workspace.reading() as connection:
            return connection.execute(query, list(parameters)).fetchall()
