"""An idle screen: the write lock is released, and a screen without its terminal ends."""

import os
import sys
from collections.abc import Callable

from tui.state.query_runner import Query, QueryRunner
from tui.state.view_state import ViewState


class IdleController:
    """Releases what an idle screen doesn't need."""

    TICK_SECONDS = 0.25

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        end: Callable[[], object],
        terminal: int | None = None,
    ) -> None:
        """`end` is called when the terminal, a file descriptor, has closed without a signal."""
        self._state = state
        self._runner = runner
        self._end = end
        self._terminal = terminal
        self._has_ended = False
        self._release: Query | None = None

    def tick(self) -> None:
        """Release the write lock. Call it every `TICK_SECONDS`."""
        if self._terminal is not None and not os.isatty(self._terminal) and not self._has_ended:
            self._has_ended = True
            self._end()
            return
        if self._release is not None and not self._release.is_finished:
            return
        workspace = self._state.data.workspace
        self._release = self._runner.run(
            lambda _: workspace.release(),
            failure="The workspace can't be released",
        )


def standard_terminal() -> int | None:
    """Return the file descriptor of the terminal on standard input; None without one."""
    entrance = sys.__stdin__
    return entrance.fileno() if entrance and entrance.isatty() else None
