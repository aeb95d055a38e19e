"""What if, on the screen: forking, editing, comparing, the tree of timelines, a banner that stays."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.widgets import OptionList, TextArea

from gateway.exchange import import_export
from gateway.ports import PortSet
from replay import fold
from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from replay.projection import projection_reference
from storage.coordinates.edit_kind import EditKind
from storage.ingest import loader
from storage.timelines import fork_store
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tests.tui.conftest import Sitting, refer
from tui.screens.dialogs.editor import EditorScreen
from tui.screens.dialogs.timelines import TimelinesScreen
from tui.state.parent_comparison import compare_with_parent
from tui.widgets.bars import WhatIfLine

SOURCE = """
def on_Paid(state, event):
    state["total"] = state.get("total", 0) + event.data["amount"]
"""


@pytest.fixture
def till(tmp_path: Path):
    """Forty payments into four tills, folded."""
    source = tmp_path / "till.jsonl"
    rows = (
        {"id": f"e{n}", "stream": f"till-{n % 4}", "type": "Paid", "data": {"amount": n}}
        for n in range(40)
    )
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    loader.load_source([str(source)], tmp_path / "till.refold")
    (tmp_path / "till.py").write_text(SOURCE)
    workspace = WorkspaceFile(tmp_path / "till.refold")
    fold.fold_projection(workspace, refer(tmp_path / "till.py"))
    return workspace


def code(till):
    return refer(till.path.parent / "till.py")


async def folded(seat, banner):
    """Wait until the fork is folded, and what differs is known."""
    await seat.until(lambda: banner in str(seat.travel.query_one(WhatIfLine).render()))
    await seat.still()


def document(seat):
    return "\n".join(seat.pane("document"))


async def test_an_edit_of_the_log_forks_it_first(till, sit: Sitting):
    async with sit(till, code(till), at=8) as seat:
        assert not seat.travel.query_one(WhatIfLine).display
        await seat.press("D", "enter")
        await folded(seat, "1 document differs")
        banner = str(seat.travel.query_one(WhatIfLine).render())
        assert "WHAT IF" in banner
        assert "what-if-1, forked from main at 7 · 1 edit" in banner
        assert "what-if-1" in seat.header
        assert seat.position == 8
        assert "dropped" in seat.position_line
        assert any(line.startswith("-") and "till-0" in line for line in seat.pane("events"))
        await seat.press("G")
        await seat.type("d", "till-0")
        assert f"total {sum(range(0, 40, 4)) - 8}" in document(seat).replace("  ", " ")
    (fork,) = fork_store.list_forks(WorkspaceFile(till.path))
    assert [(e.kind, str(e.label)) for e in fork.active_edits] == [(EditKind.DROP, "8")]


async def test_what_differs_is_a_table_and_the_document_stands_beside_its_twin(till, sit: Sitting):
    async with sit(till, code(till), at=8) as seat:
        await seat.press("D", "enter")
        await folded(seat, "1 document differs")
        await seat.press("V")
        await seat.until(lambda: seat.travel.query_one("#findings").display)
        await seat.still()
        assert "main │ what-if-1" in seat.title("findings")
        (row,) = (line for line in seat.pane("findings") if line.strip())
        assert "till-0" in row
        assert "total: 180 → 172" in row
        await seat.press("escape", "G")
        await seat.type("d", "till-0")
        await seat.until(lambda: "180" in "\n".join(seat.pane("compared")))
        assert "172" in "\n".join(seat.pane("compared"))
        assert "till-0: main │ what-if-1" in seat.title("compared")


async def test_steps_are_undone_and_done_again(till, sit: Sitting):
    async with sit(till, code(till), at=8) as seat:
        await seat.press("D", "enter")
        await folded(seat, "1 document differs")
        await seat.press("]", "D")
        await folded(seat, "2 documents differ")
        await seat.press("u")
        await folded(seat, "1 document differs")
        await seat.press("U")
        await folded(seat, "2 documents differ")
        await seat.press("u", "u")
        await folded(seat, "0 documents differ")
        await seat.press("u")
        assert "Nothing to undo" in seat.said[-1]


async def test_a_value_is_set(till, sit: Sitting):
    async with sit(till, code(till), at=8) as seat:
        await seat.type("=", "amount = 1000")
        await seat.until(lambda: seat.travel.query_one("#prompt").display)
        await seat.press("enter")
        await folded(seat, "1 document differs")
        assert "1000" in "\n".join(seat.pane("event"))
        await seat.type("=", "amount")
        assert "is no assignment" in seat.said[-1]


async def test_an_event_is_edited_and_checked_before_it_is_taken(till, sit: Sitting):
    async with sit(till, code(till), at=8) as seat:
        await seat.press("D", "enter")
        await folded(seat, "1 document differs")
        await seat.press("]")
        await seat.hit("R")
        await seat.until(lambda: isinstance(seat.app.screen, EditorScreen))
        area = seat.app.screen.query_one(TextArea)
        assert json.loads(area.text)["data"] == {"amount": 9}
        area.text = area.text.replace('"amount": 9', '"amount": ')
        await seat.pilot.pause(0.1)
        assert "not a JSON object" in str(seat.app.screen.query_one("#editor-said").render())
        await seat.hit("ctrl+s")
        assert isinstance(seat.app.screen, EditorScreen)
        area.text = area.text.replace('"amount": ', '"amount": 90')
        await seat.pilot.press("ctrl+s")
        await folded(seat, "2 documents differ")
        assert "90" in "\n".join(seat.pane("event"))


async def test_an_event_is_inserted_and_moved(till, sit: Sitting):
    async with sit(till, code(till), at=8) as seat:
        await seat.hit("I")
        await seat.until(lambda: isinstance(seat.app.screen, EditorScreen))
        area = seat.app.screen.query_one(TextArea)
        area.text = '{"type": "Paid", "stream": "till-9", "data": {"amount": 1}}'
        await seat.pilot.press("ctrl+s")
        await seat.until(lambda: seat.travel.query_one("#prompt").display)
        await seat.press("enter")
        await folded(seat, "1 document differs")
        assert any("8+1" in line and "till-9" in line for line in seat.pane("events"))
        await seat.type(":", "8+1")
        assert "#8+1" in seat.position_line
        await seat.type("M", "2")
        await folded(seat, "2 edits")
        assert any("2+1" in line and "till-9" in line for line in seat.pane("events"))
        await seat.press("H")
        await seat.until(lambda: "main │ what-if-1" in seat.title("findings"))
        await seat.still()
        assert any("+" in line and "till-9" in line for line in seat.pane("findings"))


async def test_timelines_are_a_tree_to_choose_from(till, sit: Sitting):
    async with sit(till, code(till), at=8) as seat:
        await seat.press("D", "enter")
        await folded(seat, "1 document differs")
        await seat.type("K", "deeper")
        await folded(seat, "deeper, forked from what-if-1 at 8 · 0 edits")
        await seat.hit("D")
        await seat.until(lambda: "event" in "".join(seat.said[-1:]))
        await seat.hit("T")
        await seat.until(lambda: isinstance(seat.app.screen, TimelinesScreen))
        shown = seat.app.screen.query_one(OptionList)
        assert [option.id for option in shown.options] == ["main", "what-if-1", "deeper"]
        assert shown.highlighted == 2
        await seat.hit("up")
        await seat.hit("up")
        await seat.pilot.press("enter")
        await seat.until(lambda: not seat.travel.query_one(WhatIfLine).display)
        await seat.still()
        assert "main" in seat.header
        assert seat.position == 8
        await seat.hit("T")
        await seat.until(lambda: isinstance(seat.app.screen, TimelinesScreen))
        await seat.hit("down")
        await seat.hit("x")
        await seat.until(lambda: "deeper is forked from it" in "".join(seat.said[-1:]))


async def test_what_is_found_late_is_not_told_of_another_timeline(
    till, sit: Sitting, monkeypatch: pytest.MonkeyPatch
):
    late = threading.Event()

    def slowly(history):
        if history is not None and history.workspace.timeline != "main":
            late.wait(10)
        return compare_with_parent(history)

    monkeypatch.setattr("tui.screens.main.comparison.compare_with_parent", slowly)
    async with sit(till, code(till), at=8) as seat:
        await seat.press("D", "enter")
        line = seat.travel.query_one(WhatIfLine)
        await seat.until(lambda: line.display and "folded" in seat.header)
        await seat.hit("T")
        await seat.until(lambda: isinstance(seat.app.screen, TimelinesScreen))
        await seat.hit("up")
        await seat.pilot.press("enter")
        await seat.until(lambda: not line.display)
        late.set()
        await seat.pilot.pause(0.3)
        await seat.still()
        assert not line.display
        assert seat.travel.controllers.comparison.parent_comparison is None


async def test_two_forks_are_joined(till, sit: Sitting):
    async with sit(till, code(till), at=8) as seat:
        await seat.press("D", "enter")
        await folded(seat, "1 document differs")
        await seat.hit("T")
        await seat.until(lambda: isinstance(seat.app.screen, TimelinesScreen))
        await seat.hit("up")
        await seat.pilot.press("enter")
        await seat.until(lambda: not seat.travel.query_one(WhatIfLine).display)
        await seat.still()
        await seat.press("]", "D", "enter")
        await folded(seat, "what-if-2, forked from main at 8 · 1 edit · 1 document differs")
        await seat.hit("T")
        await seat.until(lambda: isinstance(seat.app.screen, TimelinesScreen))
        await seat.hit("up")
        await seat.hit("J")
        await seat.until(lambda: seat.travel.query_one("#prompt").display)
        await seat.press("enter")
        await folded(seat, "forked from main at 7 · 2 edits · 2 documents differ")


async def test_a_conflict_is_resolved_on_the_screen(till, sit: Sitting):
    first = EditBuilder(till, "one")
    first.drop(8)
    edit_builder.save_fork(edit_builder.create_fork(till, "one", first.edits))
    second = EditBuilder(till, "two")
    second.drop(12)
    edit_builder.save_fork(edit_builder.create_fork(till, "two", second.edits))
    till.release()
    async with sit(till, code(till), at=8) as seat:
        await seat.hit("T")
        await seat.until(lambda: isinstance(seat.app.screen, TimelinesScreen))
        await seat.hit("down")
        await seat.pilot.press("enter")
        await folded(seat, "one, forked from main at 7 · 1 edit · 1 document differs")
        await seat.hit("T")
        await seat.until(lambda: isinstance(seat.app.screen, TimelinesScreen))
        await seat.hit("down")
        await seat.hit("J")
        await seat.until(lambda: seat.travel.query_one("#prompt").display)
        await seat.press("enter")
        await folded(seat, "one-two, forked from main at 7 · 2 edits · 1 document differs")
        await seat.until(lambda: "merge conflicts" in seat.title("findings"))
        await seat.still()
        (row,) = (line for line in seat.pane("findings") if line.strip())
        assert 'joined {"total":160}' in row
        await seat.press("G")
        await seat.type("d", "till-0")
        await seat.type("O", '{"total": 7}')
        await folded(seat, "3 edits")
        await seat.press("G")
        await seat.until(lambda: "total 7" in document(seat).replace("  ", " "))


async def test_values_of_both_timelines_are_in_one_plot(till, sit: Sitting):
    async with sit(till, code(till), at=8) as seat:
        await seat.press("D", "enter")
        await folded(seat, "1 document differs")
        await seat.press("G")
        await seat.type("v", "sum(state.total)")
        await seat.until(lambda: bool(seat.travel.query("#plot-names")))
        await seat.until(
            lambda: "on main" in str(seat.travel.query_one("#plot-names").render()), seconds=20
        )
        said = str(seat.travel.query_one("#plot-names").render())
        assert "sum(state.total) 772" in said
        assert "sum(state.total) on main 780" in said


async def test_without_code_a_fork_is_kept_and_not_folded(till, sit: Sitting):
    async with sit(till, at=8) as seat:
        await seat.press("D", "enter")
        await folded(seat, "what-if-1, forked from main at 7 · 1 edit")
        assert "no projection" in seat.header
    assert [fork.name for fork in fork_store.list_forks(WorkspaceFile(till.path))] == ["what-if-1"]


async def test_a_call_is_answered_otherwise_on_a_fork(till, sit: Sitting, tmp_path: Path):
    (tmp_path / "rates.py").write_text(
        "def on_Paid(state, event, gateway):\n"
        "    rate = gateway.query('rates', 'rate', {'pair': 'EURUSD'})\n"
        "    state['total'] = state.get('total', 0) + event.data['amount'] * rate\n"
    )
    journal = tmp_path / "calls.jsonl"
    call = {"port": "rates", "operation": "rate", "request": {"pair": "EURUSD"}, "response": 2}
    journal.write_text("".join(json.dumps({"event_id": f"e{n}", **call}) + "\n" for n in range(40)))
    import_export.import_recordings(till, journal, PortSet())
    wanted = refer(tmp_path / "rates.py")
    fold.fold_projection(till, wanted)
    async with sit(till, wanted, at=8) as seat:
        assert "recorded  rates rate" in "\n".join(seat.pane("event"))
        await seat.hit("a")
        await seat.until(lambda: seat.travel.query_one("#prompt").display)
        await seat.type_over("3")
        await seat.press("enter")
        await seat.until(lambda: seat.travel.query_one("#prompt").display)
        await seat.press("enter")
        await folded(seat, "1 document differs")
        assert f"total {2 * (0 + 4) + 3 * 8}" in document(seat).replace("  ", " ")
        assert "WHAT-IF" in seat.header
        await seat.press("&")
        await seat.until(lambda: "calls: main │ what-if-1" in seat.title("findings"))
        await seat.still()
        (row,) = (line for line in seat.pane("findings") if line.strip())
        assert "overridden" in row


async def test_a_strangers_names_and_data_do_nothing_to_the_screen(
    log: Callable[..., Workspace],
    projection: Callable[..., projection_reference.Reference],
    sit: Sitting,
):
    workspace = log(
        *[
            {"stream": "s\x1b[31m", "type": "[/red]", "data": {"a": "\u202e\x1b]52;c;eA==\x07"}}
            for _ in range(4)
        ]
    )
    wanted = projection("def apply(state, event): state['n'] = state.get('n', 0) + 1")
    fold.fold_projection(workspace, wanted)
    async with sit(workspace, wanted, at=1) as seat:
        await seat.hit("R")
        await seat.until(lambda: isinstance(seat.app.screen, EditorScreen))
        text = seat.app.screen.query_one(TextArea).text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert json.loads(text)["data"] == {"a": "\u202e\x1b]52;c;eA==\x07"}
        await seat.pilot.press("escape")
        await seat.press("D", "enter")
        await folded(seat, "1 document differs")
        await seat.press("V")
        await seat.still()
        assert "\x1b" not in seat.screen_text()
