"""Stepping into a handler from the screen: `refold debug` has the terminal until it ends."""

import shlex
import subprocess
import sys

from textual.app import App, SuspendNotSupported

from replay.projection.projection_reference import Reference
from replay.worker_host.sigint import sigint_ignored
from storage.errors import QueryError
from storage.log.positions import START
from storage.workspace.workspace import MAIN_TIMELINE
from tui.state.session import Session

_BACK = "Enter goes back to the screen. "


def debug_handler(
    app: App[None], model: Session, wanted: Reference | None, position: int, key: str | None
) -> None:
    """Suspend the screen for the handler of the event at a position, then come back.

    Raises `QueryError` where there is nothing to step into, or no terminal to do it in.
    """
    if wanted is None:
        raise QueryError("Only code that you name is run; open the workspace with -p FILE.")
    if position == START:
        raise QueryError("At the start there is no event to step into.")
    # -P: nothing of the folder in which the user's code lies is imported, whatever its name.
    command = [sys.executable, "-P", "-m", "tui.cli"]
    asked = ["debug", str(model.workspace.path.resolve()), "-p", wanted.text]
    asked += ["--python", wanted.python, "--at", str(model.workspace.label_at(position))]
    if model.workspace.timeline != MAIN_TIMELINE:
        asked += ["--timeline", model.workspace.timeline]
    if key is not None:
        asked += ["--prefer", key]
    try:
        with app.suspend():
            model.workspace.release()
            run_in_terminal([*command, *asked], wanted.cwd)
    except SuspendNotSupported as error:
        raise QueryError(
            f"This terminal can't be handed over; in another one run: refold {shlex.join(asked)}"
        ) from error


def run_in_terminal(command: list[str], cwd: str) -> None:
    """Run it in the terminal, and wait until the person has seen what it says."""
    with sigint_ignored():
        subprocess.run(command, cwd=cwd, check=False)
        try:
            input(_BACK)
        except EOFError:
            return
