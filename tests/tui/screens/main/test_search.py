"""Questions with many answers, on the screen: tables, plots, watches, bookmarks, a base."""

import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from replay import fold
from storage.marks import bookmarks, watches
from storage.workspace.workspace_file import WorkspaceFile
from tests.tui.conftest import Shop, refer
from tui.app import RefoldApp
from tui.results import projection_queries
from tui.state import view_address
from tui.widgets.bars import MessageLine
from tui.widgets.plot_pane import PlotPane
from tui.widgets.results_pane import ResultsPane

BROKEN = 1504
"""Where order-245 is paid twice, as the sample's README says."""


@pytest.fixture
def own(shop: Shop, tmp_path: Path) -> Shop:
    """A shop of one's own, to keep things in."""
    for path in shop.workspace.path.parent.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path / path.name)
    workspace = WorkspaceFile(tmp_path / shop.workspace.path.name)
    right, wrong = (refer(tmp_path / Path(r.text).name) for r in (shop.right, shop.wrong))
    fold.fold_projection(workspace, wrong)
    fold.fold_projection(workspace, right)
    return Shop(workspace, right, wrong)


def found(seat: Any) -> list[str]:
    """The rows of the table that are to be seen, without blanks at their ends."""
    return [line.strip() for line in seat.pane("findings") if line.strip()]


def shown(seat: Any) -> bool:
    return bool(seat.travel.query_one(ResultsPane).display)


async def test_broken_invariants_as_a_table(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        assert not shown(seat)
        await seat.press("i")
        [row] = found(seat)
        assert row.startswith("1,504")
        assert "net payment never exceeds the total  until 1,659" in row
        assert seat.title("findings") == "invariant violations"
        assert seat.position == 10, "nothing moves by itself"
        await seat.press("n")
        assert seat.position == BROKEN
        assert "order-245" in seat.title("document")
        await seat.press("escape")
        assert not shown(seat)


async def test_when_did_it_become_so(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=0) as seat:
        await seat.type("F", "state.paid - state.refunded > state.total")
        assert len(found(seat)) == 1
        assert "order-245" in found(seat)[0]
        await seat.press("down")
        assert seat.position == BROKEN
        await seat.type("F", "! state.paid - state.refunded > state.total")
        assert "1,659" in found(seat)[0]
        assert seat.title("findings").startswith("stopped being true")
        await seat.type("F", "sum(state.total) > 30000")
        assert "all documents" in found(seat)[0]


async def test_values_of_another_kind_are_told_where_nothing_became_so(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=0) as seat:
        await seat.type("F", "state.status > 5")
        assert "never became true" in seat.said[-1]
        assert "the value has another type" in seat.said[-1]


async def test_next_and_previous_hit_by_key(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=0) as seat:
        await seat.type("F", "state.paid > 300")
        await seat.press("n", "n")
        second = seat.position
        await seat.press("n", "N")
        assert seat.position == second
        assert seat.subtitle("findings").startswith("2 of ")
        assert "●" in "".join(seat.pane("events"))
        await seat.press("ctrl+o")
        assert seat.position != second, "hits are jumps"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("state.total <", "doesn't parse"),
        ("colour = 3", "unknown name colour"),
        ("state.total < 'a' AND 1 < 'b'", "compares a number with text"),
        ("state.nowhere = 1", "never became true. No state ever had a value at state.nowhere."),
        ("max(state.total) > 1", "calls max"),
    ],
)
async def test_a_wrong_condition_is_one_sentence(shop: Any, sit: Any, text: str, said: str) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        await seat.type("F", text)
        assert [said in message for message in seat.said] == [True]
        assert seat.position == 5
        # What was typed is there to be corrected.
        assert seat.travel.query_one(Input).value == text
        await seat.press("escape", "]")
        assert seat.position == 6


async def test_all_changes_of_a_value(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=BROKEN) as seat:
        await seat.press("tab", "tab", "end")
        await seat.press(*["up"] * 3)
        path = seat.travel.query_one("#document").path
        await seat.press("b")
        assert seat.title("findings").endswith(".".join(map(str, path)))
        rows = found(seat)
        assert rows
        await seat.press("home")
        assert f"{seat.position:,}" in rows[0]
        assert seat.travel.query_one("#document").path == path, "the cursor stays on the value"


async def test_changes_of_a_whole_document(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=BROKEN) as seat:
        await seat.press("b")
        assert seat.title("findings") == "changes of order-245 › $"
        rows = found(seat)
        assert len(rows) == 8
        assert " → {" in rows[0], "it was born with all of it"
        assert "refunded 0 → " in rows[-1], "after that, the paths that changed are named"


async def test_failures_and_causes(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=BROKEN) as seat:
        await seat.press("x")
        assert [row.split()[0] for row in found(seat)] == ["878", "1,518", "2,250"]
        await seat.press("escape", "t")
        rows = found(seat)
        assert len(rows) == 8
        assert "└ PaymentCaptured" in rows[5]
        await seat.press("end")
        assert seat.position == 1659
        await seat.press("g", "t")
        assert "no event at the start" in seat.said[-1]


async def test_a_logpoint(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=1659) as seat:
        await seat.hit("L")
        await seat.still()
        field = seat.travel.query_one(Input)
        assert field.value == "RefundIssued: "
        await seat.type("L", "RefundIssued: state.refunded - before.refunded, data.amount")
        rows = found(seat)
        assert len(rows) > 5
        assert all(row.split()[-1] == row.split()[-2] for row in rows)
        await seat.type("L", "nothing to log")
        assert "Invalid logpoint" in seat.said[-1]
        await seat.type("L", "NoSuchType: data.x")
        assert "No event of type" in seat.said[-1]


async def test_values_over_time(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=BROKEN) as seat:
        await seat.type("v", "sum(state.total), state.paid")
        await seat.until(lambda: bool(seat.travel.query(PlotPane)))
        pane = seat.travel.query_one(PlotPane)
        await seat.until(lambda: bool(pane.display))
        await seat.still()
        assert "sum(state.total)" in seat.screen_text()
        assert "354.2" in seat.screen_text(), "the value at the position"
        canvas = seat.travel.query_one("#plot-lines #plot")
        region = canvas.region
        await seat.click("#plot-lines", region.x - pane.region.x + region.width // 2, 4)
        assert abs(seat.position - BROKEN) > 0
        await seat.press("escape")
        assert not pane.display
        await seat.type("v", "state.status")
        await seat.until(lambda: "is never a number" in "".join(seat.said))


async def test_a_watch_becomes_a_lane(own: Shop, sit: Any) -> None:
    async with sit(own.workspace, own.right, at=0) as seat:
        await seat.press("+")
        assert "No condition to watch" in seat.said[-1]
        await seat.type("F", "state.paid > 300")
        await seat.press("+")
        await seat.until(lambda: "•" in seat.pane_strip())
        lines = len(seat.pane_strip().splitlines())
        await seat.press("escape")
        await seat.type("f", "type = 'RefundIssued'")
        await seat.press("+")
        await seat.until(lambda: len(seat.pane_strip().splitlines()) == lines + 1)
    workspace = WorkspaceFile(own.workspace.path)
    assert [w.scope for w in watches.list_watches(workspace)] == ["states", "events"]
    workspace.close()
    async with sit(own.workspace, own.right, at=0) as seat:
        await seat.until(lambda: seat.pane_strip().count("•") > 5)
        await seat.press("-", "-", "-")
        assert seat.said[-1] == "No watches yet: F or f, then +."
        await seat.until(lambda: "•" not in seat.pane_strip())


async def test_bookmarks_with_notes(own: Shop, sit: Any) -> None:
    async with sit(own.workspace, own.right, at=BROKEN) as seat:
        await seat.press("'")
        assert "No bookmarks yet" in seat.said[-1]
        await seat.type("B", "paid [/twice] \x1b[31m")
        await seat.until(lambda: "▾" in seat.pane_strip())
        await seat.press("g", "'")
        assert "paid [/twice]" in found(seat)[0]
        assert "\x1b" not in seat.screen_text()
        await seat.press("down")
        assert seat.position == BROKEN
        assert seat.app.state.key == "order-245"
        await seat.press("-")
        await seat.until(lambda: "▾" not in seat.pane_strip())
        assert not shown(seat)
    workspace = WorkspaceFile(own.workspace.path)
    assert bookmarks.list_bookmarks(workspace) == []
    workspace.close()


async def test_a_base_to_compare_with(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=1431) as seat:
        await seat.press("m")
        assert "base #1,431" in seat.position_line
        await seat.press("1", "0", "0", "]", "d")
        await seat.type("d", "order-245")
        assert any("was 177.1" in line for line in seat.pane("document"))
        assert "from #1,431" in seat.subtitle("document")
        assert seat.position == 1531
        await seat.press("m")
        assert "base" not in seat.position_line
        assert not any("was 177.1" in line for line in seat.pane("document"))


async def test_an_address_leads_back(shop: Any, sit: Any) -> None:
    copied: list[str] = []
    async with sit(shop.workspace, shop.right, at=BROKEN) as seat:
        seat.app.copy_to_clipboard = copied.append
        await seat.press("tab", "tab", "end", "Y")
        line = seat.travel.query_one("#document").path
    place = view_address.parse_address(copied[0])
    assert place.workspace == shop.workspace.path.resolve()
    assert (place.position, place.key) == (str(BROKEN), "order-245")
    app = RefoldApp(WorkspaceFile(place.workspace), (), at=int(place.position), place=place)
    async with app.run_test(size=(120, 40)) as pilot:
        deadline = time.monotonic() + 10
        while app.main_screen.query_one("#document").path != line and time.monotonic() < deadline:
            await pilot.pause(0.02)
        assert app.state.position == BROKEN
        assert app.state.key == "order-245"
        assert app.main_screen.query_one("#document").path == line
        assert app.state.data.history is not None
        assert app.state.data.history.fold_record.name == "orders"


async def test_a_question_can_be_left(shop: Any, sit: Any, monkeypatch: Any) -> None:
    from replay.query import history_scan

    left = threading.Event()
    drawn = history_scan.prefetch_items

    def waiting(items: Any, depth: int) -> Any:
        for number, item in enumerate(drawn(items, depth)):
            assert number == 0 or left.wait(30)
            yield item

    monkeypatch.setattr(history_scan, "_FIRST_CHUNK_EVENTS", 5)
    monkeypatch.setattr(history_scan, "prefetch_items", waiting)
    async with sit(shop.workspace, shop.right, at=0) as seat:
        await seat.hit("F")
        await seat.still()
        seat.travel.query_one(Input).value = "state.total >= 0"
        await seat.hit("enter")
        await seat.until(lambda: shown(seat))
        assert "esc stop" in seat.subtitle("findings")
        await seat.hit("escape")
        left.set()
        await seat.still()
        assert "stopped; later results are missing" in seat.subtitle("findings")
        pane = seat.travel.query_one(ResultsPane)
        assert 0 < len(pane.findings.offsets) < 523


async def test_without_a_projection_there_is_nothing_to_ask(log: Any, sit: Any) -> None:
    workspace = log({"stream": "s", "type": "T", "data": {}})
    async with sit(workspace) as seat:
        for key in "FivLbmx":
            await seat.press(key)
            assert not shown(seat)
            assert seat.said[-1].endswith(".")
        assert "start refold with -p FILE" in seat.said[0]
        await seat.press("t")
        assert "No related events" in seat.said[-1]


def test_expressions_are_separated_by_the_commas_between_them() -> None:
    found = projection_queries.split_expressions("a, f(b, c), 'x,y', d['e,f'],")
    assert found == ["a", "f(b, c)", "'x,y'", "d['e,f']"]


async def test_enter_goes_to_the_row_of_the_table(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await seat.press("i", "enter")
        assert seat.position == BROKEN
        await seat.press("tab", "[", "enter")
        assert seat.position == BROKEN, "wherever the focus is"


async def test_what_was_wrong_is_said_no_longer_than_it_is(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        for better in (("escape",), ("escape", "]"), ("escape", "i")):
            await seat.type("f", "data.amount >")
            line = seat.travel.query_one(MessageLine)
            assert line.display
            await seat.press(*better)
            assert not line.display


async def test_the_plot_tells_the_value_at_the_position_or_between_what_it_is(
    log: Any, projection: Any, sit: Any
) -> None:
    counter = "def initial(key): return {'n': 0}\ndef apply(state, event): state['n'] += 1\n"
    events = ({"stream": "a", "type": "T", "data": {}} for _ in range(1_000))
    async with sit(log(*events), projection(counter), at=500) as seat:
        await seat.until(lambda: "folded 1,000" in seat.header)
        await seat.still()
        await seat.type("v", "state.n")
        await seat.until(lambda: bool(seat.travel.query(PlotPane)))
        pane = seat.travel.query_one(PlotPane)
        await seat.until(lambda: bool(pane.display))
        for _ in range(4):
            await seat.still()
            said = str(seat.travel.query_one("#plot-names").render())
            assert "state.n of a" in said
            numbers = [int(word) for word in said.split() if word.isdecimal()]
            assert min(numbers) <= seat.position + 1 <= max(numbers)
            await seat.press("]")
