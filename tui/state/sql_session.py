"""The SQL queries since the application started, and the last result."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.query.sql_query import QueryResult

_KEPT = 200


@dataclass(frozen=True)
class RowTarget:
    """The position and document that a result row refers to."""

    offset: int
    key: str | None


@dataclass
class SqlSession:
    """The query history, as in a shell, and the last result."""

    text: str = ""
    """The text in the editor."""
    answer: "QueryResult | None" = None
    line: int = -1
    """The line under the cursor of the result; -1 for none."""
    _queries: list[str] = field(default_factory=list)
    _place: int = 0
    _unsent: str = ""

    def add_query(self, text: str) -> None:
        """Add a query to the history."""
        if not self._queries or self._queries[-1] != text:
            self._queries.append(text)
            del self._queries[:-_KEPT]
        self._place = len(self._queries)

    def recall_query(self, text: str, by: int) -> str | None:
        """Return the previous (-1) or next (1) query; after the last one, the unsent text. None at the ends."""
        place = self._place + by
        if not 0 <= place <= len(self._queries):
            return None
        if self._place == len(self._queries):
            self._unsent = text
        self._place = place
        return self._unsent if place == len(self._queries) else self._queries[place]
