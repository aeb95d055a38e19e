"""Rows in pages, and what of a value is shown, without an application."""

from collections.abc import Sequence

from tests.tui.screens.main.collaborators import Notifier, Runner
from tui.widgets.row_pages import PAGE_ROWS, RowPages
from tui.widgets.value_lines import ExpansionState, find_first_change, find_path_line, value_lines


def test_a_row_arrives_with_its_page_and_the_next_page_in_advance() -> None:
    runner, fetched, drawn = Runner(Notifier(), is_held=True), list[int](), list[bool]()

    def fetch(first: int, count: int) -> Sequence[int]:
        fetched.append(first)
        return range(first, first + count)

    pages = RowPages(fetch, runner, lambda: drawn.append(True))
    assert pages.row(3, 1_000) is None
    assert pages.row(4, 1_000) is None
    assert pages.is_loading
    runner.finish()
    assert (pages.row(3, 1_000), drawn, fetched) == (3, [True], [0])
    assert pages.row(PAGE_ROWS - 1, 1_000) == PAGE_ROWS - 1
    runner.finish()
    assert fetched == [0, PAGE_ROWS]
    assert not pages.is_loading


def test_after_an_error_a_page_is_requested_again() -> None:
    from storage.errors import QueryError

    runner, tries = Runner(Notifier()), list[int]()

    def fetch(first: int, count: int) -> Sequence[str]:
        tries.append(first)
        if len(tries) == 1:
            raise QueryError("Locked.")
        return ["row"] * count

    pages = RowPages(fetch, runner, lambda: None)
    assert pages.row(0, 1) is None
    assert pages.row(0, 1) is None
    assert pages.row(0, 1) == "row"
    assert runner.notifier.errors == [], "a delayed page is no error to show"


def test_a_collapsed_part_hides_its_members() -> None:
    value = {"items": {"a": 1}, "total": 2}
    lines = value_lines(value)
    assert find_path_line(lines, ("items", "a")) == 1
    collapsed = value_lines(value, (), ExpansionState().toggle(("items",)))
    assert find_path_line(collapsed, ("items", "a")) == 0, "the nearest parent that is shown"
    assert find_path_line(collapsed, ("other",)) is None
    assert find_first_change(lines) is None
