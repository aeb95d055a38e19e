"""Calls to the outside on the screen: of the event, as a table, as a lane, and answered by hand."""

import json
from pathlib import Path

import pytest

from gateway.exchange import import_export
from gateway.ports import PortSet
from replay import fold
from storage.ingest import loader
from storage.workspace.workspace_file import WorkspaceFile
from tests.tui.conftest import Shop, Sitting, refer

SOURCE = """
import time
def on_Paid(state, event, gateway):
    rate = gateway.query("rates", "rate", {"pair": "EUR" + event.data["currency"]})
    state["total"] = state.get("total", 0) + event.data["amount"] * rate
    state["at"] = time.time()
    if event.offset == 20:
        try:
            open("audit.log", "a")
        except OSError:
            pass
"""


@pytest.fixture
def till(tmp_path: Path):
    """Forty payments, of whose rates one was recorded for another pair."""
    events = tmp_path / "till.jsonl"
    rows = [
        {
            "id": f"e{n}",
            "stream": f"till-{n % 4}",
            "type": "Paid",
            "data": {"amount": n, "currency": "USD"},
        }
        for n in range(40)
    ]
    events.write_text("".join(json.dumps(row) + "\n" for row in rows))
    journal = tmp_path / "calls.jsonl"
    pairs = ["EURJPY" if n == 30 else "EURUSD" for n in range(40)]
    journal.write_text(
        "".join(
            json.dumps(
                {
                    "event_id": f"e{n}",
                    "port": "rates",
                    "operation": "rate",
                    "request": {"pair": pair},
                    "response": 2,
                }
            )
            + "\n"
            for n, pair in enumerate(pairs)
        )
    )
    path = tmp_path / "till.refold"
    loader.load_source([str(events)], path)
    workspace = WorkspaceFile(path)
    import_export.import_recordings(workspace, journal, PortSet())
    (tmp_path / "till.py").write_text(SOURCE)
    fold.fold_projection(workspace, refer(tmp_path / "till.py"))
    return workspace


def _event(seat):
    return "\n".join(seat.pane("event"))


async def test_the_calls_of_the_event_are_shown_with_what_became_of_them(till, sit: Sitting):
    async with sit(till, at=5, size=(200, 60)) as seat:
        assert 'recorded  rates rate {"pair":"EURUSD"} → 2  answered from' in _event(seat)
        await seat.type(":", "20")
        await seat.still()
        text = _event(seat)
        assert "✗ blocked file write: a replay lets nothing out" in text
        assert 'open("audit.log", "a")' in text
        await seat.press("]")
        assert "blocked" not in _event(seat)


async def test_a_miss_shows_what_is_nearest_and_can_be_answered_by_hand(
    till, sit: Sitting, tmp_path: Path
):
    wanted = refer(Path(tmp_path / "till.py"))
    async with sit(till, wanted, at=30, size=(200, 60)) as seat:
        text = _event(seat)
        assert "✗ missed rates rate: was not recorded" in text
        assert 'similar recording: rate, request.pair: "EURJPY" → "' in text
        assert "worker/calls.py" not in text
        await seat.hit("a")
        await seat.still()
        for _ in range(3):
            await seat.hit("backspace")
        await seat.hit("3")
        await seat.hit("enter")
        await seat.until(lambda: "recorded  rates rate" in _event(seat), 30)
        await seat.still()
        assert '{"pair":"EURUSD"} → 3  answered from' in _event(seat)
        assert "failed" not in seat.header


async def test_they_are_a_table_whose_rows_move_time(till, sit: Sitting):
    async with sit(till, at=5, size=(160, 50)) as seat:
        await seat.press("C")
        rows = seat.pane("findings")
        assert any("recorded" in row and "rates rate" in row for row in rows)
        before = seat.position
        await seat.press("down")
        assert seat.position == before + 1
        await seat.press("escape")
        assert seat.pane_strip().count("·") > 30


async def test_without_calls_there_is_nothing_to_be_listed(shop: Shop, sit: Sitting):
    async with sit(shop.workspace, at=5) as seat:
        assert "ask.calls" not in {command.id for command in seat.travel.available_commands()}


async def test_an_imported_call_of_no_event_is_given_to_the_one_here(
    till, sit: Sitting, tmp_path: Path
):
    journal = tmp_path / "more.jsonl"
    asked = {"port": "rates", "operation": "rate", "request": {"pair": "EURUSD"}}
    journal.write_text(json.dumps({**asked, "response": 5}) + "\n")
    import_export.import_recordings(till, journal, PortSet())
    wanted = refer(Path(tmp_path / "till.py"))
    async with sit(till, wanted, at=30, size=(200, 60)) as seat:
        await seat.until(lambda: "missed  rates rate" in _event(seat), 30)
        await seat.still()
        await seat.hit("A")
        await seat.until(lambda: any("1 call without an event" in said for said in seat.said))
        await seat.still()
        await seat.hit("enter")
        await seat.until(lambda: '{"pair":"EURUSD"} → 5' in _event(seat), 30)
        await seat.still()
