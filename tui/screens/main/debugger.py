"""Step into a handler from the screen: `refold debug` has the terminal until it ends."""

import shlex
import subprocess
import sys

from textual.app import App, SuspendNotSupported

from replay.projection.projection_reference import Reference
from replay.worker_host.sigint import sigint_ignored
from storage.errors import QueryError
from storage.log.positions import START
from storage.workspace.workspace import MAIN_TIMELINE
from tui.state.shown_data import ShownData

_BACK = "Press Enter to return to refold. "


def debug_handler(
    app: App[None], data: ShownData, wanted: Reference | None, position: int, key: str | None
) -> None:
    """Suspend the screen for the handler of the event at a position, then come back.

    Raises `QueryError` if there is no code or no event to step into, or no terminal to do it in.
    """
    if wanted is None:
        raise QueryError("No code to run. Open the workspace with its projection: -p FILE.")
    if position == START:
        raise QueryError(
            "There is no event to step into at the start. Press ] for the first event."
        )
    # -P keeps Python from importing modules from the folder of the user's code.
    command = [sys.executable, "-P", "-m", "tui.cli"]
    asked = ["debug", str(data.workspace.path.resolve()), "-p", wanted.text]
    asked += ["--python", wanted.python, "--at", str(data.workspace.label_at(position))]
    if data.workspace.timeline != MAIN_TIMELINE:
        asked += ["--timeline", data.workspace.timeline]
    if key is not None:
        asked += ["--prefer", key]
    try:
        with app.suspend():
            data.workspace.release()
            run_in_terminal([*command, *asked], wanted.cwd)
    except SuspendNotSupported as error:
        raise QueryError(
            f"This terminal can't run the debugger. In another terminal, run: refold {shlex.join(asked)}"
        ) from error


def run_in_terminal(command: list[str], cwd: str) -> None:
    """Run a command in the terminal, and wait for Enter so that its output can be read."""
    with sigint_ignored():
        subprocess.run(command, cwd=cwd, check=False)
        try:
            input(_BACK)
        except EOFError:
            return
