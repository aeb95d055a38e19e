"""From the screen into the code: stepping into a handler, and exporting what shows a finding."""

import asyncio
import shutil
import subprocess
from contextlib import nullcontext
from typing import Any

import pytest

from storage.workspace.workspace_file import WorkspaceFile
from tui.app import RefoldApp
from tui.screens.main import debugger


async def test_the_handler_is_stepped_into_in_the_suspended_terminal(
    shop: Any, sit: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], str]] = []
    suspended: list[RefoldApp] = []

    def suspend(app: RefoldApp) -> Any:
        suspended.append(app)
        return nullcontext()

    monkeypatch.setattr(RefoldApp, "suspend", suspend)
    monkeypatch.setattr(debugger, "run_in_terminal", lambda *command: asked.append(command))
    async with sit(shop.workspace, shop.wrong, at=2376) as seat:
        assert seat.title("document") == "order-382"
        await seat.press("s")
        assert suspended == [seat.app]
        [(command, cwd)] = asked
        done = await asyncio.to_thread(
            subprocess.run,
            command,
            cwd=cwd,
            input="p state['refunded']\nc\n",
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert "on_RefundIssued()" in done.stdout
        assert "15.14" in done.stdout
        assert "29.01" in done.stdout
        assert seat.position == 2376
        await seat.press("g", "s")
        assert len(asked) == 1
        assert (
            "There is no event to step into at the start. Press ] for the first event." in seat.said
        )


async def test_without_a_terminal_the_command_is_said(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, shop.wrong, at=2376) as seat:
        await seat.press("s")
        [said] = seat.said
        assert "refold debug" in said
        assert "--at 2376 --prefer order-382" in said


async def test_a_history_whose_code_is_not_named_is_not_run(shop: Any, sit: Any) -> None:
    async with sit(shop.workspace, at=2376) as seat:
        await seat.press("s")
        assert seat.said == ["No code to run. Open the workspace with its projection: -p FILE."]


async def test_a_reproduction_is_exported_beside_the_workspace(
    shop: Any, sit: Any, tmp_path: Any
) -> None:
    shop.workspace.release()
    copy = tmp_path / "orders.refold"
    shutil.copy(shop.workspace.path, copy)
    async with sit(WorkspaceFile(copy), shop.wrong, at=878) as seat:
        await seat.press("E")
        folder = tmp_path / "order-129@878"
        assert f"to {folder}; test_order_129_at_878.py asserts: " in seat.said[-1]
        assert "does not raise KeyError: 'amount'" in seat.said[-1]
        assert (folder / "test_order_129_at_878.py").is_file()
        await seat.press("E")
        assert "exists already and isn't empty" in seat.said[-1]
        seat.travel.controllers.navigation.go(2376)
        await seat.still()
        await seat.press("E")
        assert "without a test" in seat.said[-1]
        names = {path.name for path in (tmp_path / "order-382@2376").iterdir()}
        assert names == {"README.md", "events.jsonl"}


async def test_nothing_is_exported_where_there_is_no_document(
    sit: Any, log: Any, projection: Any, tmp_path: Any
) -> None:
    workspace = log({"stream": "a", "type": "T", "data": {}}, {"type": "T", "data": {}})
    async with sit(workspace, projection("def on_T(state, event): state['n'] = 1\n")) as seat:
        await seat.until(lambda: "folded" in seat.header)
        await seat.press("g", "E")
        assert "There is no event at the start" in seat.said[-1]
