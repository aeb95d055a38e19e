"""Rows of the tables `decisions` and `reads`: the calls of handlers, and their clocks and random numbers."""

from collections.abc import Collection, Iterator
from typing import Any

from storage.coordinates.fold_scope import FoldScope
from storage.db.query import fetch_rows
from storage.folds.failure_rows import count_handled_rows
from storage.folds.key_selection import KeySelection
from storage.workspace.workspace import Workspace

_PAGE_ROWS = 2_000
_LOG_ORDER = '"offset", key, ordinal'


class DecisionRows:
    """Reads the gateway's decisions of one fold; a row has the columns of `decisions`."""

    def __init__(self, workspace: Workspace, scope: FoldScope) -> None:
        self._workspace = workspace
        self._scope = scope

    def read_page(self, first: int, count: int) -> list[dict[str, Any]]:
        """Return `count` decisions in the order of the log, from index `first` on."""
        return self._read_page("true", (), first, count)

    def iterate_pages(self, limit: int | None = None) -> Iterator[list[dict[str, Any]]]:
        """Yield the decisions in the order of the log, at most `limit`."""
        return self._iterate_pages("true", (), limit)

    def iterate_pages_of_document(self, key: str, until: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the decisions for a document, up to and including an offset."""
        return self._iterate_pages('key = ? AND "offset" <= ?', (key, until))

    def iterate_pages_between(self, first: int, last: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the decisions of the events from `first` to `last`."""
        return self._iterate_pages('"offset" BETWEEN ? AND ?', (first, last))

    def read_offsets(self, limit: int) -> list[int]:
        """Return the offsets of the first `limit` decisions, in the order of `read_page`."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f'SELECT "offset" FROM decisions WHERE {self._scope.condition}'
                f" ORDER BY {_LOG_ORDER} LIMIT {int(limit)}"
            ).fetchall()
        return [offset for (offset,) in rows]

    def find_keys_since(self, offset: int) -> set[str]:
        """Return the keys of the documents that made calls at or after an offset."""
        with self._workspace.reading() as connection:
            rows = connection.execute(
                f"SELECT DISTINCT key FROM decisions WHERE {self._scope.condition}"
                ' AND "offset" >= ? AND key IS NOT NULL',
                [offset],
            ).fetchall()
        return {key for (key,) in rows}

    def count_since(
        self, offset: int, selection: KeySelection, unrouted_offsets: Collection[int]
    ) -> int:
        """Return the number of decisions of the selected documents at or after an offset, and of
        events among `unrouted_offsets` that reached no document."""
        return count_handled_rows(
            self._workspace, self._scope, "decisions", offset, selection, unrouted_offsets
        )

    def _iterate_pages(
        self, condition: str, parameters: tuple[Any, ...], limit: int | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        first = 0
        while limit is None or first < limit:
            count = _PAGE_ROWS if limit is None else min(_PAGE_ROWS, limit - first)
            page = self._read_page(condition, parameters, first, count)
            yield page
            if len(page) < count:
                return
            first += count

    def _read_page(
        self, condition: str, parameters: tuple[Any, ...], first: int, count: int
    ) -> list[dict[str, Any]]:
        with self._workspace.reading() as connection:
            return fetch_rows(
                connection,
                f"SELECT * FROM decisions WHERE {self._scope.condition} AND {condition}"
                f" ORDER BY {_LOG_ORDER} LIMIT {int(count)} OFFSET {int(first)}",
                parameters,
            )


class ReadRows:
    """Reads the clocks and random numbers that handlers read, such as `datetime.now`."""

    def __init__(self, workspace: Workspace, scope: FoldScope) -> None:
        self._workspace = workspace
        self._scope = scope

    def read_all(self, limit: int | None = None) -> list[tuple[int, str]]:
        """Return (offset, name) pairs in the order of the log, at most `limit`."""
        bound = "" if limit is None else f" LIMIT {int(limit)}"
        with self._workspace.reading() as connection:
            return connection.execute(
                f'SELECT DISTINCT "offset", read FROM reads WHERE {self._scope.condition}'
                f" ORDER BY ALL{bound}"
            ).fetchall()

    def read_between(self, first: int, last: int) -> dict[int, list[str]]:
        """Return the names from offset `first` to `last`, by offset."""
        with self._workspace.reading() as connection:
            found = connection.execute(
                'SELECT "offset", list(DISTINCT read ORDER BY read) FROM reads'
                f' WHERE {self._scope.condition} AND "offset" BETWEEN ? AND ? GROUP BY "offset"',
                [first, last],
            ).fetchall()
        return dict(found)
