"""SQL on the screen: typing with words offered, asking, looking at rows, going where they lead."""

from typing import Any

import pytest
from textual.widgets import Static

from storage.query import sql_query
from tui.screens.dialogs.row import RowScreen, RowView
from tui.screens.dialogs.sql import SqlScreen
from tui.screens.main.main_screen import MainScreen
from tui.widgets.query_editor import CompletionList, QueryEditor
from tui.widgets.result_list import ResultList

KEYS = {"'": "apostrophe", " ": "space", "(": "left_parenthesis", ")": "right_parenthesis"}


def editor(seat: Any) -> QueryEditor:
    found: QueryEditor = seat.app.screen.query_one(QueryEditor)
    return found


def rows(seat: Any) -> list[str]:
    shown = seat.app.screen.query_one(ResultList)
    height = shown.scrollable_content_region.height
    return [shown.render_line(y).text.rstrip() for y in range(min(height, shown.line_count))]


def said(seat: Any) -> str:
    return str(seat.app.screen.query_one("#said", Static).render())


async def write(seat: Any, text: str) -> None:
    """Type it, key by key."""
    for character in text:
        await seat.hit(KEYS.get(character, character))
    await seat.still()


async def ask(seat: Any, text: str) -> None:
    """Open the screen if need be, and ask this."""
    if not isinstance(seat.app.screen, SqlScreen):
        await seat.press("S")
    editor(seat).focus()
    editor(seat).replace_query(text)
    await seat.press("enter")


async def test_rows_are_aligned_under_their_names(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        query = (
            "SELECT i * 1000 AS number, repeat('x', i * 100) AS text, i = 1 AS yes,"
            " CASE WHEN i > 0 THEN 'NULL' END AS none FROM range(3) t(i)"
        )
        await ask(seat, query)
        names, *lines = rows(seat)
        assert names.split() == ["number", "text", "yes", "none"]
        assert [line[: names.index("number") + 6].split() for line in lines] == [
            ["0"],
            ["1000"],
            ["2000"],
        ]
        assert all(line.index(line.split()[0]) > 0 for line in lines)
        assert len({line.rindex(" ", 0, names.index("text")) for line in lines}) == 1
        assert "∅" in lines[0]
        assert "NULL" in lines[1]
        assert "x…" in lines[2]
        assert said(seat).startswith("3 rows")


async def test_typing_offers_words_and_tab_takes_them(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await seat.press("S")
        offers = seat.app.screen.query_one(CompletionList)
        assert not offers.display
        await write(seat, "FROM cha")
        assert offers.display
        assert "changes('" in seat.screen_text()
        await seat.press("tab")
        await write(seat, "or")
        assert "orders@f00d" in seat.screen_text()
        await seat.press("down", "enter")
        assert editor(seat).text == "FROM changes('orders'"
        await write(seat, ", 'order-129') WHERE off")
        await seat.press("tab")
        await write(seat, " = 877")
        await seat.press("enter")
        assert editor(seat).text == "FROM changes('orders', 'order-129') WHERE \"offset\" = 877"
        assert said(seat).startswith("1 row ")


async def test_enter_asks_though_words_are_offered_and_escape_closes_them(
    shop: Any, sit: Any
) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await seat.press("S")
        await write(seat, "FROM doc")
        await seat.press("escape")
        assert not seat.app.screen.query_one(CompletionList).display
        assert isinstance(seat.app.screen, SqlScreen)
        await write(seat, "u")
        assert seat.app.screen.query_one(CompletionList).display
        await seat.press("enter")
        assert editor(seat).text == "FROM docu"
        assert "docu does not exist" in said(seat)


async def test_enter_on_a_row_goes_to_its_event_and_document(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await ask(seat, "FROM state_at('orders', 1500) WHERE key = 'order-129'")
        await seat.press("enter")
        assert isinstance(seat.app.screen, MainScreen)
        assert seat.position == 966
        assert seat.title("document") == "order-129"
        await seat.press("ctrl+o")
        assert seat.position == 10


async def test_coming_back_one_goes_on_where_one_was(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await ask(seat, 'SELECT "offset" FROM events ORDER BY "offset" DESC')
        await seat.press("down", "down", "enter")
        assert seat.position == 2997
        await seat.press("S")
        assert editor(seat).text.startswith("SELECT")
        await seat.press("down", "enter")
        assert seat.position == 2996


async def test_a_row_that_leads_nowhere_says_so(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await ask(seat, "SELECT 1 AS one")
        await seat.press("enter")
        assert "to go to. Press space" in said(seat)
        await ask(seat, 'SELECT 3000 AS "offset"')
        await seat.press("enter")
        assert said(seat) == "There is no event at 3,000. The last event is at 2,999."
        await ask(seat, "SELECT 'x' AS \"offset\"")
        await seat.press("enter")
        assert "to go to. Press space" in said(seat)
        assert seat.position == 10


async def test_paging_through_many_rows(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await ask(seat, "SELECT i FROM range(60000) t(i)")
        await seat.press("end")
        assert rows(seat)[0].split() == ["i"]
        assert rows(seat)[-1].split() == ["59999"]
        await seat.press("pageup", "pageup", "home")
        assert [line.split() for line in rows(seat)[:2]] == [["i"], ["0"]]


async def test_of_very_many_rows_the_first_are_kept_and_that_is_said(
    shop: Any, sit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_query, "MAX_ROWS", 1000)
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await ask(seat, "SELECT i FROM range(20000000000) t(i)")
        assert said(seat).startswith("first 1,000 rows shown; narrow the query")
        await seat.press("end")
        assert rows(seat)[-1].split() == ["999"]
        assert "first 1,000 rows only" in seat.screen_text()
        await ask(seat, "SELECT i FROM range(1000) t(i)")
        assert said(seat).startswith("1,000 rows")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("SELEKT 1", 'The query doesn\'t parse: syntax error at or near "SELEKT".'),
        ("SELECT 1; SELECT 2", "Give one statement; the query has 2."),
        ("DELETE FROM events", "DELETE would change the workspace, and a query can only read"),
        ("SELECT * FROM read_csv('/etc/passwd')", "/etc/passwd isn't in it."),
        ("ATTACH 'x.db'", "ATTACH accesses files outside the workspace"),
        ("FROM latest('nope')", "There is no projection nope"),
        ("SELECT error('[/b]\x1b]52;c;x')", "The query failed: [/b]␛]52;c;x."),
    ],
)
async def test_what_is_wrong_is_said_below_the_query(
    shop: Any, sit: Any, query: str, sentence: str
) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await ask(seat, query)
        assert sentence in said(seat)
        assert editor(seat).text == query
        assert editor(seat).has_focus
        assert "\x1b" not in seat.screen_text()


async def test_a_query_that_takes_long_says_so_and_escape_ends_it(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await seat.press("S")
        editor(seat).replace_query("SELECT count(*) FROM range(10000000000) a, range(10000) b")
        await seat.hit("enter")
        await seat.until(lambda: "esc cancel" in said(seat))
        await seat.press("escape")  # waits until nothing runs any more
        assert said(seat) == "Query cancelled."
        assert isinstance(seat.app.screen, SqlScreen)
        await seat.press("escape")
        assert isinstance(seat.app.screen, MainScreen)


async def test_earlier_queries_come_back(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await ask(seat, "SELECT 1")
        await ask(seat, "SELECT 2")
        editor(seat).focus()
        editor(seat).replace_query("SELECT 3")
        await seat.press("up", "up")
        assert editor(seat).text == "SELECT 1"
        await seat.press("up")
        assert editor(seat).text == "SELECT 1"
        await seat.press("down", "down")
        assert editor(seat).text == "SELECT 3"


async def test_several_lines(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await seat.press("S")
        await write(seat, "SELECT 7")
        await seat.press("ctrl+j")
        await write(seat, "AS seven")
        await seat.press("enter")
        assert editor(seat).text == "SELECT 7\nAS seven"
        assert rows(seat)[0].split() == ["seven"]


async def test_a_row_is_shown_whole_and_copied(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await ask(seat, 'SELECT 1 AS a, 2 AS a, \'{"n":{"m":0.10}}\' AS data, NULL AS gone')
        await seat.press("space")
        assert isinstance(seat.app.screen, RowScreen)
        shown = seat.app.screen.query_one(RowView)
        lines = [shown.render_line(y).text.split() for y in range(6)]
        assert lines == [
            ["a", "1"],
            ["a", "(2)", "2"],
            ["data"],
            ["n"],
            ["m", "0.10"],
            ["gone", "null"],
        ]
        await seat.press("y", "escape")
        assert isinstance(seat.app.screen, SqlScreen)
        assert seat.app.clipboard == '{"a":1,"a (2)":2,"data":{"n":{"m":0.10}},"gone":null}'
        await seat.press("y")
        assert seat.app.clipboard.startswith('{"a":1')


async def test_what_is_in_the_rows_acts_on_nothing(log: Any, sit: Any) -> None:
    hostile = "\x1b]52;c;aGk=\x07[/b][red]\u202e"
    workspace = log({"id": "a", "stream": hostile, "type": "[/]", "data": {hostile: hostile}})
    async with sit(workspace) as seat:
        await ask(seat, 'SELECT stream AS "[/b]\x1b[31m", type, data FROM events')
        await seat.press("space")
        assert isinstance(seat.app.screen, RowScreen)
        await seat.press("escape")
        assert "␛]52" in seat.screen_text()
        assert not {"\x1b", "\x07", "\u202e"} & set(seat.screen_text())


async def test_an_answer_that_is_looked_at_keeps_nobody_from_writing(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await ask(seat, "FROM events")
        await seat.until(lambda: seat.app.state.data.workspace._reader is None)
        await seat.press("end")
        assert rows(seat)[-1].split()[0] == "2999"
