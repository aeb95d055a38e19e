"""A sweep on the screen: asked for in a form, listed best or worst first, opened."""

import pytest
from textual.widgets import Input

from storage.timelines import fork_store
from storage.workspace.workspace_file import WorkspaceFile
from tests.tui.conftest import Sitting
from tests.tui.screens.main.test_forks import code, document, folded, till  # noqa: F401 - a fixture
from tui.screens.dialogs.sweep_form import SweepForm
from tui.screens.dialogs.sweep_results import SweepResultsScreen


async def sweep(seat, **typed):
    """Ask for a sweep in the form, and wait for what it comes to."""
    if not isinstance(seat.app.screen, SweepForm):
        await seat.hit("*")
        await seat.until(lambda: isinstance(seat.app.screen, SweepForm))
    for name, text in typed.items():
        seat.app.screen.query_one(f"#sweep-{name}", Input).value = text
    await seat.pilot.pause()
    await seat.hit("enter")


async def listed(seat):
    await seat.until(lambda: isinstance(seat.app.screen, SweepResultsScreen))
    await seat.pilot.pause()
    return seat.screen_text()


async def test_a_value_is_varied_and_the_best_fork_opened(till, sit: Sitting):  # noqa: F811
    async with sit(till, code(till), at=8) as seat:
        await sweep(
            seat, path="amount", values="5 to 25 by 10", expressions="sum(state.total), count(*)"
        )
        shown = await listed(seat)
        assert "3 forks, highest sum(state.total) first" in shown
        assert "without edits: sum(state.total) = 780, count(*) = 4" in shown
        rows = [
            line.partition("amount =")[2].split()
            for line in shown.splitlines()
            if "amount =" in line
        ]
        assert [(row[0], row[1], row[3]) for row in rows] == [
            ("25", "797", "1"),
            ("15", "787", "1"),
            ("5", "777", "1"),
        ]
        assert fork_store.list_forks(WorkspaceFile(till.path)) == []
        await seat.hit("r")
        await seat.until(lambda: "lowest sum(state.total) first" in seat.screen_text())
        await seat.hit("enter")
        await folded(seat, "sweep-0, forked from main at 7 · 1 edit · 1 document differs")
        assert [fork.name for fork in fork_store.list_forks(WorkspaceFile(till.path))] == [
            "sweep-0"
        ]

        await seat.hit("*")
        await listed(seat)
        await seat.hit("enter")  # the best now, as it is the same list from its top
        await folded(seat, "sweep-0")


async def test_each_matching_event_is_dropped_by_itself_and_the_list_stays(till, sit: Sitting):  # noqa: F811
    async with sit(till, code(till), at=8) as seat:
        await sweep(seat, events="data.amount >= 38", expressions="sum(state.total)")
        shown = await listed(seat)
        assert shown.index("without 38") < shown.index("without 39")
        await seat.hit("down")
        await seat.hit("enter")
        await folded(seat, "sweep-39, forked from main at 38 · 1 edit · 1 document differs")
        await seat.press("G")
        await seat.type("d", "till-3")
        assert "total 171" in document(seat).replace("  ", " ")
        await seat.hit("*")
        await listed(seat)
        await seat.hit("n")
        await seat.until(lambda: isinstance(seat.app.screen, SweepForm))
        await sweep(seat, events="data.amount >= 37")
        assert "without edits: sum(state.total) = 741" in await listed(seat)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({}, "Nothing to compute"),
        ({"expressions": "count(*)", "path": "amount"}, "No values for amount"),
        ({"expressions": "count(*)", "values": "3"}, "No field for the values"),
        (
            {"expressions": "count(*)", "path": "a", "values": "1 to 9 by -1"},
            "can't be reached from",
        ),
        ({"expressions": "count(*)", "path": "a", "values": "x to 9 by 1"}, "Invalid range"),
    ],
)
async def test_a_form_says_what_is_missing(till, sit: Sitting, typed, said):  # noqa: F811
    async with sit(till, code(till), at=8) as seat:
        await sweep(seat, **typed)
        await seat.until(lambda: said in str(seat.app.screen.query_one("#sweep-said").render()))
        await seat.hit("escape")
        await seat.until(lambda: seat.app.screen is seat.travel)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"expressions": "state.total"}, "sum"),
        ({"expressions": "count(*)", "events": "type = 'Nothing'"}, "No event matches"),
        ({"expressions": "count(*)", "path": "amount[", "values": "1"}, "amount["),
    ],
)
async def test_what_cannot_be_swept_is_said(till, sit: Sitting, typed, said):  # noqa: F811
    async with sit(till, code(till), at=8) as seat:
        await sweep(seat, **typed)
        await seat.until(lambda: seat.app.screen is seat.travel)
        await seat.still()
        assert said in seat.said[-1]


async def test_without_a_projection_nothing_is_swept(till, sit: Sitting):  # noqa: F811
    async with sit(till, at=8) as seat:
        await seat.press("*")
        assert seat.app.screen is seat.travel
