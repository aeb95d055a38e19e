"""Rows of a list, fetched in pages by threads; only a few pages stay in memory."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, TypeVar

from tui.state.query_runner import QueryRunner

PAGE_ROWS = 256
_KEPT = 16

Row = TypeVar("Row")
Fetch = Callable[[int, int], Sequence[Row]]
"""Returns rows for (first row, count); called in a thread."""


class RowPages(Generic[Row]):
    """The rows of one source. Other rows are another object, so late pages never mix with them."""

    def __init__(
        self, fetch: Fetch[Row], runner: QueryRunner, on_loaded: Callable[[], object]
    ) -> None:
        self._fetch = fetch
        self._runner = runner
        self._on_loaded = on_loaded
        self._pages: OrderedDict[int, Sequence[Row]] = OrderedDict()
        self._requested: set[int] = set()

    @property
    def is_loading(self) -> bool:
        """Whether a page is on the way."""
        return bool(self._requested)

    def row(self, line: int, line_count: int) -> Row | None:
        """Return a row; if its page isn't in memory, request the page and return None."""
        number, place = divmod(line, PAGE_ROWS)
        page = self._pages.get(number)
        if page is None:
            self._request(number)
            return None
        self._pages.move_to_end(number)
        # Near the end of a page, request the next one in advance.
        if place > PAGE_ROWS - 64 and line + 64 < line_count:
            self._request(number + 1)
        if place < 64 and number:
            self._request(number - 1)
        return page[place] if place < len(page) else None

    def _request(self, number: int) -> None:
        if number in self._requested or number in self._pages:
            return
        self._requested.add(number)
        self._runner.run(
            lambda _: self._fetch(number * PAGE_ROWS, PAGE_ROWS),
            partial(self._take, number),
            # After an error, the next draw of a row requests the page again.
            on_error=lambda _: self._requested.discard(number),
        )

    def _take(self, number: int, rows: Sequence[Row]) -> None:
        self._requested.discard(number)
        self._pages[number] = rows
        while len(self._pages) > _KEPT:
            self._pages.popitem(last=False)
        self._on_loaded()
