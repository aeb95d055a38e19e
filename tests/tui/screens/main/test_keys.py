"""What every key does, on the real screen over the orders log."""

from typing import Any

import pytest
from textual.widgets import Input, OptionList

from storage.log.positions import START
from tui import commands
from tui.screens.dialogs.help import HelpScreen
from tui.widgets.bars import Prompt
from tui.widgets.document_pane import DocumentPane
from tui.widgets.events_pane import EventsPane


async def test_steps_and_ends(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await seat.press("]")
        assert seat.position == 11
        await seat.press("[", "[")
        assert seat.position == 9
        await seat.press("g")
        assert seat.position == START
        await seat.press("[")
        assert seat.position == START
        await seat.press("]")
        assert seat.position == 0
        await seat.press("G", "]")
        assert seat.position == 2999


async def test_counts(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=100) as seat:
        await seat.press("5", "0", "]")
        assert seat.position == 150
        await seat.press("]")
        assert seat.position == 151
        await seat.press("5", "0", "%")
        assert seat.position == 1499
        await seat.press("%")
        assert seat.position == 1499
        await seat.press("2", "0", "0", "%")
        assert seat.position == 2999
        await seat.press("0", "%")
        assert seat.position == START
        await seat.press(*"99999999999", "]")
        assert seat.position == 2999


async def test_a_count_belongs_to_the_next_key_only(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=100) as seat:
        await seat.press("7", "j")
        assert seat.position == 101
        await seat.press("]")
        assert seat.position == 102
        await seat.press("7", "escape", "]")
        assert seat.position == 103
        await seat.press("²", "]")
        assert seat.position == 104


async def test_a_huge_count_does_not_hang(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=669) as seat:
        await seat.press(*"999999999", "}")
        end = seat.position
        assert seat.app.state.snapshot is not None
        assert seat.app.state.snapshot.event is not None
        assert seat.app.state.snapshot.event.stream == "order-129"
        await seat.press("}")
        assert seat.position == end
        assert "No next event of order-129." in seat.said
        await seat.type("/", "refund")
        await seat.press(*"999999999", "n")
        assert seat.position in seat.travel.controllers.search.matches.offsets


async def test_in_the_stream(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=878) as seat:
        await seat.press("{")
        assert seat.position == 877
        await seat.press("}", "}")
        assert seat.position == 966
        assert "order-129 @" in seat.position_line


async def test_the_stream_is_that_of_the_position_even_when_keys_are_fast(
    shop: Any, sit: Any
) -> None:
    async with sit(shop.workspace, shop.right, at=877) as seat:
        await seat.press("G")
        seat.travel.controllers.navigation.go(877)
        seat.travel.controllers.navigation.go_in_stream(1)
        await seat.still()
        assert seat.position == 878


async def test_changes_of_the_document(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=878) as seat:
        assert seat.title("document") == "order-129"
        await seat.press("(")
        assert seat.position == 877
        await seat.press(")")
        assert seat.position == 966
        await seat.press("2", "(")
        assert seat.position < 877
        assert seat.title("document") == "order-129"


async def test_who_changed_the_value_under_the_cursor(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=1274) as seat:
        assert seat.title("document") == "order-219"
        row = next(n for n, line in enumerate(seat.pane("document")) if "status" in line)
        await seat.click("#document", 6, row + 1)
        await seat.press("w")
        assert seat.position == 1254
        await seat.press("w", "w")
        assert seat.position == 1160
        await seat.press("w")
        assert seat.position == 1160
        assert "No earlier change of order-219 › status." in seat.said
        await seat.press("W")
        assert seat.position == 1200
        assert '"placed"' in seat.pane("document")[row]


async def test_failures(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.wrong, at=0) as seat:
        await seat.press("!")
        assert seat.position == 878
        await seat.press("2", "!")
        assert seat.position == 2250
        await seat.press("!")
        assert seat.position == 2250
        assert "No next handler error." in seat.said
        await seat.press("#")
        assert seat.position == 1518
        await seat.press("3", "#")
        assert seat.position == 878


@pytest.mark.parametrize(
    ("text", "position"),
    [
        *(("1200", 1200), ("1,200", 1200), ("-1", 2999), ("50%", 1499), ("start", START)),
        *(("end", 2999), ("order-129@4", 878), ("id:ev-1504", 1504), ("2026-01-01T01:00", 0)),
    ],
)
async def test_go_to(shop: Any, sit: Any, text: str, position: int) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        await seat.type(":", text)
        assert seat.position == position
        assert not seat.said
        assert isinstance(seat.app.focused, EventsPane)


@pytest.mark.parametrize(
    "text", ["3000", "nonsense", "order-129@999", "no@1", "id:x", "2026-99", "1+1"]
)
async def test_go_to_nowhere(shop: Any, sit: Any, text: str) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        await seat.type(":", text)
        assert seat.position == 5
        assert len(seat.said) == 1
        assert seat.said[0].endswith(".") or seat.said[0].endswith("…")
        assert "\n" not in seat.said[0]


async def test_search(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=0) as seat:
        await seat.press("n")
        assert seat.position == 0
        await seat.type("/", "REFUND")
        first = seat.position
        assert "RefundIssued" in seat.position_line
        await seat.press("n")
        assert seat.position > first
        await seat.press("N", "N")
        last = seat.position
        assert last > first, "after the first comes the last"
        await seat.press("n")
        assert seat.position == first
        assert "●" in "".join(seat.pane("events"))
        await seat.press("escape")
        assert "●" not in "".join(seat.pane("events"))
        assert not seat.travel.check_action("command", ("search.next",))


async def test_a_search_for_nothing(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        await seat.type("/", "[/x] no such")
        assert seat.position == 5
        assert seat.said == ["No event contains '[/x] no such'."]
        await seat.type("/", "")
        assert seat.position == 5


async def test_filter_by_text(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=878) as seat:
        await seat.type("f", "refund")
        assert seat.subtitle("events") == "refund: 62"
        assert all("RefundIssued" in row for row in seat.pane("events") if row)
        await seat.press("]")
        assert seat.position == 904
        await seat.type("f", "")
        assert seat.subtitle("events") == ""
        assert seat.position == 904
        await seat.press("]")
        assert seat.position == 905


async def test_filter_by_condition(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=100) as seat:
        await seat.type("f", "type = 'OrderCancelled'")
        assert "type = 'OrderCancelled': " in seat.subtitle("events")
        assert "OrderCancelled" in seat.position_line
        await seat.press(*"9999", "]")
        last = seat.position
        assert "OrderCancelled" in seat.position_line
        await seat.press("]")
        assert seat.position == last
        await seat.press("escape")
        assert seat.subtitle("events") == ""


async def test_in_a_filtered_list_one_may_stand_between_its_events(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=878) as seat:
        await seat.type("f", "refund")
        await seat.type(":", "890")
        await seat.press("[")
        assert seat.position == 878
        await seat.type(":", "890")
        await seat.press("]")
        assert seat.position == 904


@pytest.mark.parametrize(
    "text",
    ["type = ", "nosuch = 1", "1 = (select 1)", "true) or (true", "type = '[/x]", "a = 1; b"],
)
async def test_a_wrong_condition_is_one_sentence(shop: Any, sit: Any, text: str) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        await seat.type("f", text)
        assert len(seat.said) == 1
        assert "\n" not in seat.said[0]
        assert seat.position == 5
        assert seat.subtitle("events") == ""


async def test_find_a_document_and_pin(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=1200) as seat:
        await seat.type("d", "order-129")
        assert seat.title("document") == "order-129"
        assert "pinned" in seat.subtitle("documents")
        await seat.press("]")
        assert seat.title("document") == "order-129"
        await seat.press("g")
        assert seat.title("document") == "order-129"
        assert seat.pane("document")[0].strip() == "doesn't exist yet"
        await seat.press("G")
        assert seat.title("document") == "order-129"
        await seat.press("P", "]", "[")
        assert seat.title("document") != "order-129"
        await seat.type("d", "rder-13")
        assert "order-13" in seat.title("document")
        await seat.type("d", "nobody")
        assert seat.said[-1] == "No document key contains 'nobody'."


async def test_jumps(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await seat.type(":", "500")
        await seat.press("]")
        await seat.type(":", "900")
        await seat.press("ctrl+o")
        assert seat.position == 501
        await seat.press("ctrl+o")
        assert seat.position == 10
        await seat.press("ctrl+o")
        assert seat.position == 10
        await seat.press("ctrl+n", "ctrl+n")
        assert seat.position == 900


async def test_play_and_pause(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=2995) as seat:
        await seat.hit("p")
        await seat.until(lambda: seat.position >= 2997)
        await seat.press("p")
        here = seat.position
        await seat.pilot.pause(0.45)
        assert seat.position == here
        await seat.hit("p")
        await seat.until(lambda: seat.position == 2999)
        await seat.until(lambda: not seat.travel.controllers.playback.is_on)


async def test_playing_faster_and_slower(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=0) as seat:
        await seat.press(*">>>")
        assert seat.said[-1] == "Play speed: 50 events/s."
        await seat.press(*">>")
        await seat.hit("p")
        await seat.until(lambda: seat.position == 2999, 10)
        await seat.press(*"<<<<<<<<<")
        assert seat.said[-1] == "Play speed: 1 events/s."


async def test_playing_ends_with_the_filter(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=2900) as seat:
        await seat.type("f", "refund")
        await seat.press(*"9999", "]")
        await seat.hit("p")
        await seat.until(lambda: not seat.travel.controllers.playback.is_on)
        await seat.press("p", "escape")
        assert not seat.travel.controllers.playback.is_on
        assert seat.app.is_running


async def test_zoom(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await seat.press("tab", "tab", "z")
        assert isinstance(seat.travel.maximized, DocumentPane)
        await seat.press("]")
        assert seat.position == 11
        await seat.press("z")
        assert seat.travel.maximized is None
        await seat.press("z", "escape")
        assert seat.travel.maximized is None


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
@pytest.mark.parametrize("steps", range(4))
async def test_a_pane_alone_fills_the_screen(
    shop: Any, sit: Any, size: tuple[int, int], steps: int
) -> None:
    async with sit(shop.workspace, shop.right, at=10, size=size) as seat:
        await seat.press(*["tab"] * steps, "z")
        alone = seat.travel.maximized
        assert alone is not None
        assert alone.outer_size == (size[0], size[1] - 1)


async def test_copy(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=1200) as seat:
        await seat.press("y")
        assert seat.app.clipboard == '{"total":31.5}'
        await seat.press("tab", "tab", "y")
        assert seat.app.clipboard.startswith('{"order":"order-219"')


async def test_the_other_projection(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, shop.wrong, at=2436) as seat:
        assert "orders@f00d" in seat.header
        assert any("refunded" in row for row in seat.pane("document"))
        await seat.press("o")
        assert "orders_wrong@f00d" in seat.header
        assert any("153.8" in row for row in seat.pane("document"))
        await seat.press("o")
        assert any("271.15" in row for row in seat.pane("document"))


async def test_escape_never_quits_and_q_does(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        await seat.press(*["escape"] * 8)
        assert seat.app.is_running
        await seat.press("colon", "q", "escape")
        assert seat.app.is_running
        assert not seat.travel.query_one(Prompt).display
        assert isinstance(seat.app.focused, EventsPane)
        await seat.hit("q")
        await seat.pilot.pause()
        assert not seat.app.is_running


async def test_a_prompt_that_was_left_is_closed(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        await seat.press("/", "x", "tab")
        assert not seat.travel.query_one(Prompt).display
        await seat.press("/", "a")
        await seat.click("#documents", 5, 1)
        assert not seat.travel.query_one(Prompt).display


async def test_help_lists_what_is_possible_now(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, at=5) as seat:
        await seat.press("?")
        assert isinstance(seat.app.screen, HelpScreen)
        listed = _listed(seat.app.screen)
        assert "time.next" in listed
        assert not {"search.next", "fold.cancel", "fold.anew"} & listed
        await seat.press("escape")
        await seat.type("/", "refund")
        await seat.press("?")
        assert "search.next" in _listed(seat.app.screen)


async def test_help_is_searched_and_runs(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        await seat.press("?", *"end of")
        assert _listed(seat.app.screen) == {"time.end"}
        await seat.press("enter")
        assert seat.position == 2999
        await seat.press("?", *"zzzz", "enter")
        await seat.press("escape", "escape")
        assert not isinstance(seat.app.screen, HelpScreen)
        await seat.press("?", "down", "down", "enter")
        assert seat.position == 2998


def _listed(screen: object) -> set[str | None]:
    assert isinstance(screen, HelpScreen)
    options = screen.query_one(OptionList).options
    return {option.id for option in options if not option.disabled}


async def test_the_palette_has_the_commands(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        titles = {c.title for c in seat.app.get_system_commands(seat.app.screen)}
        assert {"Next event (])", "Previous event ([)", "Find a document (d)"} <= titles
        assert not any("Next match" in title for title in titles)
        await seat.pilot.press("ctrl+p")
        await seat.pilot.pause()
        seat.app.screen.query_one(Input).value = "start of the log"
        await seat.pilot.pause(0.6)
        await seat.pilot.press("enter", "enter")
        await seat.until(lambda: seat.position == START)


async def test_a_key_that_can_do_nothing_says_why(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        for key, said in (
            ("C", "No handler made outside calls."),
            ("u", "Press K to fork it here."),
            ("n", "Press /; then n and N go through the matches."),
            ("c", "No fold is running."),
        ):
            assert not any(said in message for message in seat.said)
            await seat.press(key)
            assert said in seat.said[-1]


def test_every_command_that_cannot_be_given_says_why() -> None:
    for command in commands.COMMANDS:
        if command.needs not in ("", "findings"):
            assert commands.missing_requirement(command.keys.split(",")[0], set()).endswith(".")
