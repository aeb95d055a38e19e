"""Saving an edited projection while a screen is open: the time until the first differences appear.

The edit changes the handler of refunds; documents differ from offset 1,267 on. It measures the
parts of the screen without the screen: the file watch, the standby process, and the comparison.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import logs
from bench.measured import print_figures, run_in_process
from replay import fold
from replay.projection import projection_reference
from storage.workspace.workspace_file import SCREEN_MEMORY_BYTES, WorkspaceFile
from tui.folding.controller import FoldController
from tui.state.timeline_view import query_timeline
from tui.state.view_state import ViewState

_REFUND = 'state["refunded"] + event.data["amount"]'


class _App:
    """The part of the application that folds need; it starts the standby process at once."""

    is_cancelled = False

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    @property
    def app(self) -> "_App":
        return self

    def run_worker(self, work: Callable[[], object], **_: object) -> "_App":
        self._loop.run_in_executor(None, work)
        return self

    def cancel(self) -> None:
        """Let a thread run to its end; its result is dropped."""

    def call_from_thread(self, work: Callable[..., object], *arguments: object) -> None:
        async def call() -> None:
            work(*arguments)

        asyncio.run_coroutine_threadsafe(call(), self._loop).result()

    def call_later(self, work: Callable[..., object], *arguments: object) -> None:
        work(*arguments)

    def set_timer(self, _: float, work: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(work)

    def notify(self, message: str, **_: object) -> None:
        print(message, file=sys.stderr)


async def _saved(workspace: Path, code: Path) -> dict[str, float]:
    wanted = projection_reference.parse_reference(str(code), sys.executable, code.parent)
    state = ViewState(query_timeline(WorkspaceFile(workspace, memory_bytes=SCREEN_MEMORY_BYTES)))
    folds = FoldController(_App(), state, [wanted])  # type: ignore[arg-type]
    first, ended = asyncio.Event(), asyncio.Event()

    def changed() -> None:
        if folds.edit is not None and folds.edit.differing_documents:
            first.set()
        if folds.trouble or (first.is_set() and not folds.running):
            first.set()
            ended.set()

    folds.begin(changed)
    await asyncio.sleep(4)  # as long as a person reads and types; the standby process gets ready
    state.data.workspace.release()  # like an idle screen
    started = await asyncio.to_thread(_save, code)
    await first.wait()
    shown = time.perf_counter() - started
    await ended.wait()
    found = {"first": shown, "all": time.perf_counter() - started}
    found["documents"] = folds.edit.differing_documents if folds.edit is not None else 0
    folds.close()
    return found


def _save(code: Path) -> float:
    text = code.read_text()
    assert _REFUND in text
    code.write_text(text.replace(_REFUND, f"{_REFUND} + 1"))
    return time.perf_counter()


def ours(path: Path) -> None:
    """Measure one edit on a copy of the workspace, with the projection in its own folder."""
    folder = path.parent / "edited"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copy(path, folder / path.name)
    code = Path(shutil.copy(logs.PROJECTION, folder))
    fold.fold_projection(
        WorkspaceFile(folder / path.name),
        projection_reference.parse_reference(str(code), sys.executable, folder),
    )
    print_figures(**asyncio.run(_saved(folder / path.name, code)))
    shutil.rmtree(folder)


def figures(events: int, runs: int = 3) -> list[str]:
    """Return the figures, the medians of several edits."""
    found = [run_in_process("bench.edit", logs.workspace(events)) for _ in range(runs)]
    first, everything = (sorted(f[name] for f in found)[runs // 2] for name in ("first", "all"))
    return [
        f"save at {events:>9,}       first differences {first:4.2f} s (at most 1)"
        f"  all {everything:4.2f} s, {found[0]['documents']:,} documents"
    ]


if __name__ == "__main__":
    ours(Path(sys.argv[1]))
