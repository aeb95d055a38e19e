"""The mouse, and what the panes say."""

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from sample_logs import generate
from storage.log.positions import START
from tui.commands import COMMANDS

COUNTER = "def apply(state, event):\n    state['n'] = state.get('n', 0) + 1\n"


async def test_clicking_an_event_and_a_document(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=1200) as seat:
        wanted = seat.pane("events")[3]
        await seat.click("#events", 6, 4)
        assert seat.position == int(wanted.split()[0].replace(",", ""))
        key = seat.pane("documents")[2].split()[0]
        await seat.click("#documents", 6, 3)
        assert seat.title("document") == key
        here = seat.position
        await seat.click("#events", 6, 0)
        assert seat.position == here, "a border is no row"


async def test_clicking_and_dragging_in_the_strip_is_one_jump(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=10) as seat:
        await seat.pilot.mouse_down("#strip", offset=(60, 1))
        await seat.still()
        middle = seat.position
        assert 1000 < middle < 2000
        for column in (70, 80, 90):
            await seat.pilot.hover("#strip", offset=(column, 1))
        await seat.pilot.mouse_up("#strip", offset=(90, 1))
        await seat.still()
        assert seat.position > middle
        await seat.press("ctrl+o")
        assert seat.position == 10


async def test_clicking_a_part_closes_and_opens_it(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=1200) as seat:
        line = next(n for n, text in enumerate(seat.pane("document")) if text.strip() == "items")
        await seat.click("#document", 8, line + 1)
        await seat.click("#document", 8, line + 1)
        assert "items {2 …" in re.sub(" +", " ", seat.pane("document")[line])
        await seat.press("enter")
        assert "soap-m" in seat.pane("document")[line + 1]


async def test_the_document_is_marked(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=1200) as seat:
        rows = seat.pane("document")
        assert any(re.match(r'~ status +"placed" +was "cart"', row) for row in rows)
        assert seat.subtitle("document") == "1 change here · next at 1,254"
        assert seat.position_line.startswith(" #1,200 of 3,000  ·  2026-01-04 07:28:15.629")
        await seat.type(":", "1254")
        rows = seat.pane("document")
        assert any(row.startswith("~ paid") for row in rows)
        assert any(row.startswith("~ status") for row in rows)


async def test_added_and_removed(
    log: Callable[..., Any], projection: Callable[..., Any], sit: Any
) -> None:
    source = "def apply(state, event):\n    return event.data\n"
    workspace = log(
        {"stream": "a", "type": "T", "data": {"x": 1, "gone": {"y": 2}}},
        {"stream": "a", "type": "T", "data": {"x": 1, "new": [1]}},
    )
    async with sit(workspace, projection(source), still=False) as seat:
        await seat.until(lambda: "folded 2" in seat.header)
        await seat.still()
        rows = seat.pane("document")
        assert any(re.match(r"\+ +new", row) for row in rows)
        assert any(re.match(r"- +gone", row) for row in rows)
        assert any(re.match(r" +x +1", row) for row in rows)
        assert "2026" not in seat.position_line, "a log without times"
        assert seat.screen_text().splitlines()[1].strip().startswith("0 ─")


async def test_a_failure_has_its_traceback(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.wrong, at=878) as seat:
        assert "✗ handler error" in seat.position_line
        assert "3 failed" in seat.header
        rows = "\n".join(seat.pane("event"))
        assert "✗ KeyError: 'amount'" in rows
        assert "orders_wrong.py" in rows


async def test_documents_grow_with_the_position(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=START) as seat:
        assert seat.subtitle("documents") == "0"
        assert seat.position_line.strip() == "start of 3,000 events"
        assert seat.pane("event")[0].strip() == "start: no event yet"
        counts = []
        for position in ("10", "500", "end"):
            await seat.type(":", position)
            counts.append(int(seat.subtitle("documents").replace(",", "")))
        assert counts == sorted(counts)
        assert len(set(counts)) == 3


async def test_a_workspace_without_a_projection(log: Callable[..., Any], sit: Any) -> None:
    workspace = log({"stream": "a", "type": "T", "data": {}})
    async with sit(workspace) as seat:
        assert "no projection (start with -p FILE)" in seat.header
        assert seat.pane("document")[0].strip() == "no document selected: press d"
        await seat.press("]", "}", "!", "d", "P", ")", "r", "c", "o", "y")
        assert seat.app.is_running


async def test_the_header_follows_the_width(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        await seat.pilot.resize_terminal(90, 30)
        await seat.still()
        assert seat.screen_text().splitlines()[0].rstrip().endswith("skipped")
        await seat.pilot.resize_terminal(160, 30)
        await seat.still()
        assert len(seat.screen_text().splitlines()[0].rstrip()) > 150


async def test_travelling_while_it_is_folded_and_cancelling(
    tmp_path: Any, projection: Callable[..., Any], sit: Any
) -> None:
    from storage.ingest import loader
    from storage.workspace.workspace_file import WorkspaceFile

    (tmp_path / "big.jsonl").write_bytes(b"".join(generate("orders", 60_000)))
    loader.load_source([str(tmp_path / "big.jsonl")], tmp_path / "big.refold")
    slow = "import time\n" + COUNTER + "    time.sleep(0.0005)\n"
    workspace = WorkspaceFile(tmp_path / "big.refold")
    async with sit(workspace, projection(slow), at=100, still=False) as seat:
        await seat.until(lambda: "folding" in seat.header)
        await seat.hit("]")
        await seat.until(lambda: seat.position == 101)
        await seat.until(lambda: seat.app.state.data.history is not None)
        await seat.until(
            lambda: any(row.startswith(("~ n", "+ n")) for row in seat.pane("document"))
        )
        await seat.hit("c")
        await seat.until(lambda: "folded up to" in seat.header)
        assert not seat.app.folds.trouble
        await seat.hit("]")
        await seat.pilot.pause(0.5)
        assert "folded up to" in seat.header, "it isn't begun again by itself"
        await seat.hit("r")
        await seat.until(lambda: "folding" in seat.header)
        await seat.hit("r")
        await seat.pilot.pause(0.5)
        assert seat.app.folds.running, "the first fold's end is not the second one's"


async def test_a_syntax_error_is_one_sentence(
    log: Callable[..., Any], projection: Callable[..., Any], sit: Any
) -> None:
    workspace = log({"stream": "a", "type": "T", "data": {}})
    async with sit(workspace, projection("def apply(state, event)\n"), still=False) as seat:
        await seat.until(lambda: seat.app.folds.trouble)
        assert len(seat.said) == 1
        assert "\n" not in seat.said[0]
        assert "p.py" in seat.said[0]
        assert "Traceback" not in seat.screen_text()


async def test_a_log_that_grew_while_the_screen_was_closed(
    log: Callable[..., Any], projection: Callable[..., Any], sit: Any
) -> None:
    record = {"stream": "a", "type": "T", "data": {}}
    wanted = projection(COUNTER)
    async with sit(log(record), wanted, still=False) as seat:
        await seat.until(lambda: "folded 1" in seat.header)
    async with sit(log(record), wanted, still=False) as seat:
        await seat.until(lambda: "folded 2" in seat.header)
        await seat.still()
        assert any(re.match(r"~ n +2 +was 1", row) for row in seat.pane("document"))


async def test_a_folder_of_the_users_cannot_shadow_refold(
    log: Callable[..., Any], projection: Callable[..., Any], tmp_path: Any, sit: Any
) -> None:
    for name in ("tui", "storage", "replay"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('run by mistake')\n")
    workspace = log({"stream": "a", "type": "T", "data": {}})
    async with sit(workspace, projection(COUNTER), still=False) as seat:
        await seat.until(lambda: "folded 1" in seat.header)


def test_ids_and_keys_are_unique() -> None:
    ids = [command.id for command in COMMANDS]
    assert len(set(ids)) == len(ids)
    keys = [key for command in COMMANDS for key in command.keys.split(",")]
    assert len(set(keys)) == len(keys)
    for taken in ("ctrl+h", "ctrl+i", "ctrl+j", "ctrl+m", "ctrl+s", "ctrl+b"):
        assert taken not in keys


async def test_a_key_can_be_remapped_by_id(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.right, at=5) as seat:
        seat.app.set_keymap({"time.next": "x"})
        await seat.press("x")
        assert seat.position == 6
        await seat.press("3", "x")
        assert seat.position == 9
        await seat.press("]")
        assert seat.position == 9


def test_the_first_paint_waits_for_nothing_that_it_doesnt_show() -> None:
    code = (
        "import sys, tui.app\n"
        "print([m for m in ('numpy', 'pyarrow', 'polars', 'textual_plot') if m in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_only_the_screen_knows_textual() -> None:
    code = (
        "import sys, importlib, pkgutil, storage, gateway, replay\n"
        "for package in (storage, gateway, replay):\n"
        "    for m in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        # httpx, which only those two import, has a command line of its own.
        "        apart = ('replay.worker', 'gateway.live_clients', 'storage.ingest.sources.kafka.registry')\n"
        "        if not m.name.startswith(apart):\n"
        "            importlib.import_module(m.name)\n"
        "print([m for m in ('textual', 'rich', 'click') if m in sys.modules])\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
