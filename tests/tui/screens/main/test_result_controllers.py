"""Result tables, plots, SQL rows, bookmarks and the clipboard, without an application."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from storage.errors import QueryError
from storage.marks import bookmarks, watches
from storage.workspace.workspace import Workspace
from tests.tui.screens.main.collaborators import Desk, Pane
from tui.results import log_queries
from tui.results.table import ResultRow, ResultTable, table_of_rows
from tui.screens.main.bookmarks import BookmarkController
from tui.screens.main.clipboard import ClipboardController
from tui.screens.main.navigation import NavigationController
from tui.screens.main.plots import PlotController
from tui.screens.main.results import ResultsController
from tui.screens.main.search import SearchController
from tui.screens.main.sql import SqlController
from tui.state.count_prefix import CountPrefix
from tui.state.shown_data import ShownData
from tui.state.sql_session import RowTarget
from tui.state.timeline_view import query_timeline
from tui.state.view_address import parse_address
from tui.state.view_state import LowerPane


@dataclass
class Tables:
    desk: Desk
    pane: Pane
    navigation: NavigationController
    search: SearchController
    results: ResultsController


@pytest.fixture
def tables(log: Callable[..., Workspace]) -> Tables:
    desk = Desk(log(*({"stream": "s", "type": f"T{n}", "data": {}} for n in range(6))))
    count, pane = CountPrefix(), Pane(has_focus=False)
    navigation = NavigationController(*desk.shared, desk.document, count)
    search = SearchController(*desk.shared, desk.prompts, navigation, desk.events, count)
    results = ResultsController(
        *desk.shared, desk.prompts, navigation, search, pane, desk.document, desk.events
    )
    return Tables(desk, pane, navigation, search, results)


def _rows(*offsets: int, going_on: bool = False) -> ResultTable:
    rows = [ResultRow(offset, (), f"key-{offset}", ("a", offset)) for offset in offsets]
    return table_of_rows("found", rows, watch=("events", "true"), going_on=going_on)


def test_a_table_opens_with_its_first_rows_and_grows(tables: Tables) -> None:
    tables.results.run_query(lambda _: iter([_rows(1, going_on=True), _rows(1, 4)]))
    assert tables.results.is_open
    assert tables.pane.has_focus
    assert list(tables.pane.findings.offsets) == [1, 4]
    tables.desk.state.move_to(1)
    tables.search.go_to_match(1)
    assert tables.desk.state.position == 4, "n goes through the rows"
    assert tables.results.watchable == ("events", "true")


def test_a_query_that_is_stopped_adds_no_rows(tables: Tables) -> None:
    def ask(_: ShownData) -> Iterator[ResultTable]:
        yield _rows(1, going_on=True)
        assert tables.results.stop_query()
        yield _rows(1, 4)

    tables.desk.runner.is_held = True
    tables.results.run_query(ask)
    query, finish, _ = tables.desk.runner.held[0]
    finish()
    assert query.is_cancelled
    assert list(tables.pane.findings.offsets) == [1]
    assert tables.pane.shown == [("stopped", None)]
    tables.desk.runner.held.clear()
    assert not tables.results.stop_query()


def test_a_query_without_results_says_why(tables: Tables) -> None:
    tables.results.run_query(log_queries.list_bookmarks)
    assert tables.desk.notifier.errors == ["No bookmarks yet. Press B to bookmark this position."]
    assert not tables.results.is_open
    tables.desk.prompts.enter("when", "a > 1")
    assert "No states without a projection" in tables.desk.notifier.errors[-1]
    assert tables.desk.prompts.opened == [("when", "a > 1")]


def test_a_row_leads_to_its_event_its_document_and_its_value(tables: Tables) -> None:
    state = tables.desk.state
    tables.results.run_query(lambda _: iter([_rows(1, 4)]))
    tables.results.go_to_line(1)
    assert (state.position, state.key) == (4, "key-4")
    assert not state.view.is_pinned
    assert tables.desk.document.path == ("a", 4)


def test_a_closed_table_gives_the_focus_back(tables: Tables) -> None:
    tables.results.run_query(lambda _: iter([_rows(1)]))
    tables.desk.events.has_focus = False
    assert tables.results.close()
    assert tables.desk.events.has_focus
    assert tables.search.matches is None
    assert not tables.results.close()


def test_another_timeline_closes_table_and_plot(tables: Tables) -> None:
    state = tables.desk.state
    tables.results.run_query(lambda _: iter([_rows(1)]))
    state.show_timeline(query_timeline(state.data.workspace), 2)
    assert state.view.lower_pane is LowerPane.NONE


def test_a_query_reads_the_data_of_the_moment_it_was_asked(tables: Tables) -> None:
    state, seen = tables.desk.state, list[ShownData]()
    before = state.data

    def ask(data: ShownData) -> Iterator[ResultTable]:
        seen.append(data)
        raise QueryError("None.")
        yield

    tables.desk.runner.is_held = True
    tables.results.run_query(ask)
    state.show_timeline(query_timeline(state.data.workspace), 2)
    tables.desk.runner.finish()
    assert seen == [before]


def _plots(tables: Tables, create: Callable[[], object]) -> PlotController:
    desk = tables.desk
    return PlotController(*desk.shared, desk.prompts, tables.results, desk.document, create)  # type: ignore[arg-type]


def test_a_plot_proposes_the_value_under_the_cursor(tables: Tables) -> None:
    plots = _plots(tables, lambda: None)
    plots.open_prompt()
    tables.desk.document.path = ("total",)
    plots.open_prompt()
    assert tables.desk.prompts.opened == [("values", ""), ("values", "state.total")]
    tables.desk.prompts.enter("values", "state.total")
    assert tables.desk.notifier.errors == [
        "No values without a projection. Start refold with one: -p FILE."
    ]
    assert not plots.close()


def test_a_sql_row_leads_to_its_event(tables: Tables) -> None:
    sql = SqlController(tables.desk.state, tables.navigation, tables.desk.screens)
    sql.open()
    [(screen, go)] = tables.desk.screens.opened
    assert type(screen).__name__ == "SqlScreen"
    assert go is not None
    go(RowTarget(3, "a"))
    go(None)
    assert (tables.desk.state.position, tables.desk.state.key) == (3, None), "no history is shown"


def test_bookmarks_and_watches_are_saved_and_removed(tables: Tables) -> None:
    desk, drawn = tables.desk, list[bool]()
    workspace = desk.state.data.workspace
    marks = BookmarkController(
        *desk.shared,
        desk.prompts,
        tables.search,
        tables.results,
        desk.document,
        lambda: drawn.append(True),
    )
    marks.add_watch()
    assert desk.notifier.errors == ["No condition to watch. Enter one with F or f, then press +."]
    marks.remove()
    assert desk.notifier.errors[-1] == "No watches yet: F or f, then +."
    desk.state.move_to(3)
    desk.prompts.enter("note", "here")
    assert [(b.position, b.note) for b in bookmarks.list_bookmarks(workspace)] == [(3, "here")]
    desk.prompts.enter("filter", "type = 'T2'")
    marks.add_watch()
    assert [w.condition for w in watches.list_watches(workspace)] == ["type = 'T2'"]
    marks.remove()
    assert watches.list_watches(workspace) == []
    tables.results.run_query(log_queries.list_bookmarks)
    tables.pane.cursor = 0
    marks.remove()
    assert bookmarks.list_bookmarks(workspace) == []
    assert not tables.results.is_open
    assert len(drawn) == 4


def test_the_address_of_a_view_is_copied(tables: Tables) -> None:
    desk, copied = tables.desk, list[str]()
    clipboard = SimpleNamespace(copy_to_clipboard=copied.append)
    controller = ClipboardController(
        desk.state, desk.notifier, clipboard, desk.document, lambda: '{"a":1}'
    )
    controller.copy_json()
    assert desk.notifier.messages == ["Copied 7 characters of JSON."]
    desk.state.move_to(2)
    desk.state.select_document("a/b")
    controller.copy_address()
    address = parse_address(copied[-1])
    assert (address.position, address.key, address.projection) == ("2", "a/b", None)
