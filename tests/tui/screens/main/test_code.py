"""The code beside the event; and what saving it changes: old code against new code."""

import contextlib
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from replay import fold
from storage.workspace import validation_cache
from storage.workspace.workspace import Workspace
from storage.workspace.workspace_file import WorkspaceFile
from tests.tui.conftest import refer

ADDS = 'round(state["refunded"] + event.data["amount"], 2)'


@pytest.fixture
def own(shop: Any, tmp_path: Path) -> tuple[Workspace, Path]:
    """A folded shop whose code may be edited."""
    path = tmp_path / "orders_wrong.py"
    shutil.copy(shop.wrong.text, path)
    shutil.copy(shop.workspace.path, tmp_path / "orders.refold")
    copied = tmp_path / "orders.refold"
    identity = validation_cache.read_identity(copied)
    assert identity is not None
    validation_cache.mark_validated(copied, identity, own=True)
    workspace = WorkspaceFile(copied)
    fold.fold_projection(workspace, refer(path))
    return workspace, path


def edit(path: Path) -> None:
    """Add where the code has replaced."""
    text = path.read_text()
    assert 'state["refunded"] = event.data["amount"]' in text
    path.write_text(text.replace('event.data["amount"]\n    if', ADDS + "\n    if"))


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


async def mended(seat: Any) -> None:
    """The code was saved with the edit in it: see what it does."""
    await seat.until(lambda: seat.app.folds.edit is not None)
    await seat.until(lambda: "folded 3,000" in seat.header)
    await seat.still()
    assert any("44.15" in row for row in seat.pane("document"))


def marked(seat: Any) -> list[str]:
    return [line for line in seat.pane("code") if line.startswith("▸")]


async def test_the_source_follows_the_event(shop: Any, sit: Any) -> None:
    text = lines(shop.wrong.text)
    async with sit(shop.workspace, shop.wrong, at=2376) as seat:
        assert not seat.travel.query_one("#code").display
        await seat.press("e")
        assert seat.title("code").startswith("on_RefundIssued · orders_wrong.py:")
        first = int(seat.title("code").rpartition(":")[2])
        rows = [row for row in seat.pane("code") if row]
        assert [row[1:].lstrip() for row in rows] == [
            f"{n} {text[n - 1]}".rstrip() for n in range(first, first + len(rows))
        ]
        await seat.type(":", "1200")
        assert seat.title("code").startswith("on_OrderPlaced · ")
        await seat.press("g")
        assert seat.pane("code")[0].strip() == "no event at the start"
        await seat.press("e")
        assert not seat.travel.query_one("#code").display
        await seat.press("e", "escape")
        assert not seat.travel.query_one("#code").display


async def test_the_lines_that_made_the_change_are_marked(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.wrong, at=2376) as seat:
        await seat.press("e")
        assert [line.split(maxsplit=1)[1] for line in marked(seat)] == [
            'state["refunded"] = event.data["amount"]'
        ]
        assert seat.subtitle("code") == "▸ may have changed the document"
        document = seat.travel.query_one("#document")
        document.focus()
        rows = seat.pane("document")
        document.cursor = next(n for n, row in enumerate(rows) if " status " in row)
        await seat.still()
        assert [line.split(maxsplit=1)[1] for line in marked(seat)] == [
            'state["status"] = "refunded"'
        ]
        assert seat.subtitle("code") == "▸ may change status"
        document.cursor = next(n for n, row in enumerate(rows) if " total " in row)
        await seat.still()
        assert marked(seat) == []


async def test_an_event_without_a_handler_says_so(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.wrong, at=10) as seat:
        await seat.press("e")
        await seat.type("/", "NewsletterOpened")
        assert (
            seat.pane("code")[0].strip() == "orders_wrong.py has no handler for NewsletterOpened."
        )


async def test_code_that_has_changed_since_is_not_shown(
    own: tuple[Workspace, Path], sit: Any
) -> None:
    workspace, path = own
    edit(path)
    async with sit(workspace, at=2376) as seat:  # nobody named it, so nothing is run
        await seat.press("o", "o", "e")
        assert seat.pane("code")[0].strip() == "orders_wrong.py has changed since it was folded."
        assert seat.app.folds.edit is None


async def test_saving_shows_which_documents_changed_where(
    own: tuple[Workspace, Path], sit: Any
) -> None:
    workspace, path = own
    async with sit(workspace, refer(path), at=100, size=(120, 40)) as seat:
        edit(path)
        await seat.until(lambda: seat.app.folds.edit is not None)
        await seat.until(lambda: "folded 3,000" in seat.header)
        await seat.still()
        found = seat.app.folds.edit
        rows = [row.split() for row in seat.pane("findings") if row]
        assert rows == [[f"{f.offset:,}", f.key] for f in found.first_differences[: len(rows)]]
        offsets = [f.offset for f in found.first_differences]
        assert offsets == sorted(offsets)
        assert seat.title("findings") == "documents changed by the code edit"
        assert seat.subtitle("findings").endswith(f"{len(offsets)} · compared up to #2,999")
        wanted = next(n for n, f in enumerate(found.first_differences) if f.key == "order-382")
        seat.travel.query_one("#findings").focus()
        await seat.press("home", *["down"] * wanted)
        assert seat.position == found.first_differences[wanted].offset == 2376
        assert seat.title("document") == "order-382"
        row = next(row for row in seat.pane("compared") if row.startswith("~ refunded"))
        assert re.match(r"~ refunded +29.01 +│ 44.15", row)
        assert any(re.match(r"~ refunded +44.15 ", row) for row in seat.pane("document"))
        await seat.press("[")
        assert "no differences at this event" in seat.pane("compared")[0]
        await seat.press("escape", "escape")
        assert not seat.travel.query_one("#findings").display
        assert not seat.travel.query_one("#compared").display


async def test_an_edit_that_changes_nothing_says_so(own: tuple[Workspace, Path], sit: Any) -> None:
    workspace, path = own
    async with sit(workspace, refer(path), at=100) as seat:
        path.write_text(path.read_text() + "\n# a thought\n")
        await seat.until(lambda: "The code edit changes no state." in seat.said)
        assert not seat.travel.query_one("#findings").display


@pytest.mark.parametrize("source", ["def apply(state, event)\n", "import nothing_of_that_name\n"])
async def test_code_that_cannot_be_loaded_leaves_the_old_history(
    own: tuple[Workspace, Path], sit: Any, source: str
) -> None:
    workspace, path = own
    text = path.read_text()
    async with sit(workspace, refer(path), at=2376) as seat:
        before = seat.pane("document")
        assert any("29.01" in row for row in before)
        path.write_text(source)
        await seat.until(lambda: seat.app.folds.trouble)
        await seat.still()
        assert "can't be loaded" in seat.header
        assert "can't be loaded" in seat.said[-1]
        assert seat.pane("document") == before
        await seat.press("[", "]")
        assert seat.pane("document") == before
        # Saved again, it is well again, and compared with what was shown all the while.
        path.write_text(text)
        edit(path)
        await mended(seat)
        assert any("29.01" in row for row in seat.pane("compared"))


@pytest.mark.parametrize("last", ["while True: pass", "__import__('os')._exit(3)"])
async def test_an_edit_that_is_not_folded_to_its_end_leaves_the_old_states(
    own: tuple[Workspace, Path], sit: Any, last: str
) -> None:
    workspace, path = own
    text = path.read_text()
    hangs = f"def on_RefundIssued(state, event):\n    {last}\n"
    async with sit(workspace, refer(path), at=2376) as seat:
        before = seat.pane("document")
        path.write_text(f"{text}\n\n{hangs}")
        await seat.until(lambda: seat.app.folds.running)
        with contextlib.suppress(AssertionError):  # on a slow machine it takes its time to begin
            await seat.until(lambda: "starting the fold" not in seat.header, 5)
        await seat.press("c")
        await seat.until(lambda: not seat.app.folds.running)
        await seat.still()
        assert "folded 3,000" in seat.header or "exited with code 3" in seat.header
        assert not any("changes no state" in said for said in seat.said)
        assert seat.pane("document") == before
        await seat.pilot.pause(1)
        assert not seat.app.folds.running, "it isn't folded again by itself"
        path.write_text(text)
        edit(path)
        await mended(seat)


async def test_the_last_of_two_quick_saves_counts(own: tuple[Workspace, Path], sit: Any) -> None:
    workspace, path = own
    text = path.read_text()
    slow = "import time\ntime.sleep(1)\n"
    async with sit(workspace, refer(path), at=2376) as seat:
        path.write_text(slow + text.replace('"status": "cart"', '"status": "basket"'))
        await seat.until(lambda: seat.app.folds.running)
        await seat.pilot.pause(0.3)
        # As an editor does that puts a new file in the old one's place.
        (path.parent / "new").write_text(text)
        edit(path.parent / "new")
        (path.parent / "new").replace(path)
        await seat.until(lambda: seat.app.folds.edit is not None)
        await seat.until(lambda: "folded 3,000" in seat.header)
        await seat.still()
        assert any("29.01" in row for row in seat.pane("compared"))
        assert len(seat.app.folds.edit.first_differences) < 30, "nothing says basket"


async def test_a_process_that_stands_by_folds_what_is_saved(
    own: tuple[Workspace, Path], sit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tui.folding.controller._WARM_PROCESS_DELAY_SECONDS", 0.01)
    workspace, path = own
    async with sit(workspace, refer(path), at=2376) as seat:
        await seat.until(lambda: seat.app.folds.standby.fold is not None)
        ready = seat.app.folds.standby.fold
        edit(path)
        await seat.until(lambda: seat.app.folds.edit is not None)
        await seat.until(lambda: seat.app.folds.standby.fold is not None)
        assert not ready.is_alive
    assert seat.app.folds.standby.fold is None
