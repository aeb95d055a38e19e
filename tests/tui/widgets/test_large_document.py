"""A large document on the screen: what an event changed of it is seen, however far down it is."""

import json
from pathlib import Path

import pytest

from replay import fold
from storage.ingest import loader
from storage.workspace.workspace_file import WorkspaceFile
from tests.tui.conftest import Sitting, refer
from tui.widgets.value_lines import find_path_line

PROJECTION = """
def initial(key): return {"items": {}, "count": 0}
def apply(state, event):
    item = state["items"].setdefault(event.data["item"], {"n": 0, "text": "x" * 80})
    item["n"] += event.data["by"]
    state["count"] += 1
    if event.data["by"] == 7: del state["items"]["item-3"]
"""
ITEMS = 1_200


@pytest.fixture
def large(tmp_path: Path):
    """A workspace with a document of 130 KB, and its projection."""
    draws = [(n % ITEMS, 1) for n in range(2 * ITEMS)] + [(900, 5), (901, 7), (902, 5), (902, 6)]
    with (tmp_path / "log.jsonl").open("w") as log:
        for n, (item, by) in enumerate(draws):
            data = {"item": f"item-{item}", "by": by}
            log.write(json.dumps({"id": f"e{n}", "stream": "s", "type": "T", "data": data}) + "\n")
    (tmp_path / "p.py").write_text(PROJECTION)
    loader.load_source([str(tmp_path / "log.jsonl")], tmp_path / "log.refold")
    workspace = WorkspaceFile(tmp_path / "log.refold")
    projection = refer(tmp_path / "p.py")
    assert fold.fold_projection(workspace, projection).part_change_count > ITEMS
    return workspace, projection


def _line(seat, text):
    return next((line for line in seat.pane("document") if text in line), "")


async def test_what_an_event_changed_is_shown_and_the_rest_is_counted(large, sit: Sitting):
    async with sit(*large, at=2 * ITEMS) as seat:
        assert "item-900" in "\n".join(seat.pane("document"))
        assert "was 2" in _line(seat, "~     n")
        assert "… 850 more" in "\n".join(seat.pane("document"))
        await seat.press("]")
        assert "item-901" in "\n".join(seat.pane("document"))
        assert "item-900" not in "\n".join(seat.pane("document"))
        await seat.press("]", "[", "[")
        assert "was 2" in _line(seat, "~     n")


async def test_what_is_gone_comes_back_where_it_was(large, sit: Sitting):
    async with sit(*large, at=2 * ITEMS + 1) as seat:
        seat.travel.query_one("#document").scroll_to(0, 0, animate=False, force=True)
        await seat.still()
        value = seat.app.state.snapshot.value
        assert list(value["items"])[:4] == ["item-0", "item-1", "item-2", "item-4"]
        assert seat.app.state.snapshot.differences
        await seat.press("[")
        value = seat.app.state.snapshot.value
        assert list(value["items"])[:4] == ["item-0", "item-1", "item-2", "item-3"]


async def test_more_of_it_is_shown_on_request(large, sit: Sitting):
    async with sit(*large, at=5) as seat:
        seat.app.state.move_to(2 * ITEMS)
        await seat.still()
        pane = seat.travel.query_one("#document")
        pane.focus()
        pane.cursor = next(n for n, line in enumerate(pane.lines) if line.left_out)
        assert pane.lines[pane.cursor].left_out == 50
        await seat.press("enter")
        assert [line.left_out for line in pane.lines if line.left_out] == [1_050]
        assert not any(line.path == ("items", "item-1100", "n") for line in pane.lines)
        pane.cursor = next(n for n, line in enumerate(pane.lines) if line.left_out)
        await seat.press("enter")
        assert not any(line.left_out for line in pane.lines)
        assert any(line.path == ("items", "item-1100", "n") for line in pane.lines)


async def test_who_changed_a_value_of_a_large_document(large, sit: Sitting):
    async with sit(*large, at=2 * ITEMS + 3) as seat:
        pane = seat.travel.query_one("#document")
        pane.focus()
        pane.cursor = find_path_line(pane.lines, ("items", "item-902", "n"))
        await seat.press("w")
        assert seat.position == 2 * ITEMS + 2
        await seat.press("w")
        assert seat.position == ITEMS + 902
        assert pane.path == ("items", "item-902", "n")
