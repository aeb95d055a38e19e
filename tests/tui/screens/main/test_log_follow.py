"""A log that grows while it is looked at: the counters run, who stands at the end goes with it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from storage.ingest import loader
from storage.workspace.workspace_file import WorkspaceFile
from tests.tui.conftest import Sitting, refer


def grow(path, first, count):
    with path.open("a") as stream:
        for n in range(first, first + count):
            event = {"id": f"e{n}", "stream": "till", "type": "Paid", "data": {"amount": n}}
            stream.write(json.dumps(event) + "\n")


async def appended(seat, path, events):
    """Load what is new in another process, as `refold load --follow` does."""
    command = [sys.executable, "-c", "from tui.cli import main; main()", "load", str(path)]
    await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    await seat.until(lambda: seat.app.state.data.extent.event_count == events)


@pytest.fixture
def till(tmp_path: Path):
    """A log of ten events that is loaded, and a projection of it."""
    path = tmp_path / "till.jsonl"
    grow(path, 0, 10)
    loader.load_source([str(path)], tmp_path / "till.refold")
    (tmp_path / "till.py").write_text(
        'def apply(state, event):\n    state["total"] = state.get("total", 0) + event.data["amount"]\n'
    )
    return path, refer(tmp_path / "till.py")


async def test_a_growing_log(till, sit: Sitting):
    path, code = till
    async with sit(WorkspaceFile(path.with_suffix(".refold")), code) as seat:
        await seat.until(lambda: "folded 10" in seat.header)
        assert seat.position == 9
        grow(path, 10, 5)
        await appended(seat, path, 15)
        assert seat.position == 14
        await seat.until(lambda: "folded 15" in seat.header)
        await seat.still()
        assert any("105" in line for line in seat.pane("document"))
        await seat.type(":", "3")
        grow(path, 15, 5)
        await appended(seat, path, 20)
        assert seat.position == 3
        await seat.until(lambda: "folded 20" in seat.header)
        await seat.still()
        assert any("6" in line for line in seat.pane("document"))
        await seat.press("G")
        assert seat.position == 19
        assert any("190" in line for line in seat.pane("document"))


async def test_a_fork_of_a_growing_log(till, sit: Sitting):
    path, code = till
    async with sit(WorkspaceFile(path.with_suffix(".refold")), code) as seat:
        await seat.until(lambda: "folded 10" in seat.header)
        await seat.type(":", "4")
        await seat.press("D", "enter")
        await seat.until(lambda: "1 document differs" in seat.screen_text())
        await seat.press("V")
        await seat.until(lambda: seat.travel.query_one("#findings").display)
        grow(path, 10, 5)
        command = [sys.executable, "-c", "from tui.cli import main; main()", "load", str(path)]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
        await asyncio.sleep(1.5)
        assert seat.app.state.data.extent.event_count == 10  # who reads a table isn't disturbed
        await seat.press("escape", "escape", "G")
        await seat.until(lambda: seat.app.state.data.extent.event_count == 15)
        assert seat.position == 14
        await seat.until(lambda: any("101" in line for line in seat.pane("document")))
        assert "what-if-1" in seat.header
        assert "1 document differs" in seat.screen_text()
