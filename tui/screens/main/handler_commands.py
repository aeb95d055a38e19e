"""Commands that hand a handler on: step into it, export a reproduction."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from replay.projection.projection_reference import Reference
from storage.errors import RefoldError
from tui.screens.main import reproduction
from tui.screens.main.ports import Notifier
from tui.state.query_runner import QueryRunner
from tui.state.shown_data import ShownData
from tui.state.view_state import ViewState

Debug = Callable[[ShownData, Reference | None, int, str | None], None]
"""Steps into the handler of a projection at a position, preferring a document."""


class NamedCode(Protocol):
    """The folds, as far as the code is concerned that may run."""

    @property
    def current(self) -> Reference | None: ...


class HandlerCommandController:
    """Runs the debugger and the export for this event's handler."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        folds: NamedCode,
        debug: Debug,
    ) -> None:
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._folds = folds
        self._debug = debug

    def step_into(self) -> None:
        """Step into the handler of this event; the debugger has the terminal until it ends."""
        try:
            self._debug(
                self._state.data, self._folds.current, self._state.position, self._state.key
            )
        except RefoldError as error:
            self._notifier.show_error(error.message)

    def export_reproduction(self) -> None:
        """Export a reproduction into a folder beside the workspace."""
        export = partial(
            reproduction.export_reproduction,
            self._state.data,
            self._folds.current,
            self._state.position,
            self._state.key,
        )
        self._runner.run(
            lambda _: export(),
            self._notifier.show_message,
            group="reproduce",
            failure="The export failed",
        )
