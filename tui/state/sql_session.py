"""What was asked in SQL since the screen was opened: the queries, and the last answer."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storage.query.sql_query import QueryResult

_KEPT = 200


@dataclass(frozen=True)
class RowTarget:
    """Where a row of an answer leads."""

    offset: int
    key: str | None


@dataclass
class SqlSession:
    """Queries to go back to, as a shell keeps them; the answer that was looked at last."""

    text: str = ""
    """What stands in the editor."""
    answer: "QueryResult | None" = None
    line: int = -1
    """The line under the cursor of the answer."""
    _queries: list[str] = field(default_factory=list)
    _place: int = 0
    _unsent: str = ""

    def add_query(self, text: str) -> None:
        """It is asked now."""
        if not self._queries or self._queries[-1] != text:
            self._queries.append(text)
            del self._queries[:-_KEPT]
        self._place = len(self._queries)

    def recall_query(self, text: str, by: int) -> str | None:
        """An earlier query (-1) or a later one (1); the last of them is what was being typed."""
        place = self._place + by
        if not 0 <= place <= len(self._queries):
            return None
        if self._place == len(self._queries):
            self._unsent = text
        self._place = place
        return self._unsent if place == len(self._queries) else self._queries[place]
