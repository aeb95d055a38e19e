"""What is irregular in a log, on the screen: a lane, and a list whose rows lead there."""

from collections.abc import Callable

from storage.workspace.workspace import Workspace
from tests.tui.conftest import Sitting
from tui.widgets.line_view import LineView


async def test_a_lane_and_a_list(log: Callable[..., Workspace], sit: Sitting):
    rows = [
        {
            "stream": "s",
            "revision": n + (5 if n > 20 else 0),
            "type": "T",
            "id": f"e{n}",
            "data": {},
        }
        for n in range(40)
    ]
    workspace = log(*rows)
    async with sit(workspace, at=3) as seat:
        assert "~" in seat.pane_strip()
        await seat.press("J")
        await seat.until(lambda: "gaps and duplicates" in seat.title("findings"))
        await seat.still()
        assert any("revision jumps" in line and "20 → 26" in line for line in seat.pane("findings"))
        await seat.press("n")
        assert seat.position == 21


async def test_a_regular_log_says_so(log: Callable[..., Workspace], sit: Sitting):
    rows = [
        {"stream": "s", "revision": n, "type": "T", "id": f"e{n}", "data": {}} for n in range(5)
    ]
    async with sit(log(*rows)) as seat:
        assert "~" not in seat.pane_strip()
        await seat.press("J")
        await seat.until(lambda: any("No gaps or duplicates" in line for line in seat.said))
        assert not seat.travel.query_one("#findings", LineView).display
