"""The projection's code: choose it, fold it, show the handler, step into it."""

from textual import work

from replay.projection.projection_reference import Reference
from storage.errors import RefoldError
from tui.commands import requirement_names
from tui.folding.controller import FoldController
from tui.screens.main import debugger, reproduction
from tui.screens.main.bookmarks import BookmarksScreen
from tui.state.session import Session
from tui.widgets.code_pane import CodePane


class CodeScreen(BookmarksScreen):
    """The part of the main screen that works with the projection's code."""

    def __init__(self, model: Session, folds: FoldController) -> None:
        super().__init__(model)
        self._folds = folds

    @property
    def available_needs(self) -> set[str]:
        return super().available_needs | requirement_names(
            fold=self._folds.running,
            projections=self._folds.count > 1,
            reference=self._folds.current is not None,
        )

    def action_other(self) -> None:
        self._folds.show_next_projection()

    def action_refold(self) -> None:
        self._folds.refold()

    def action_cancel_fold(self) -> None:
        self._folds.cancel()

    def action_debug(self) -> None:
        """Step into the handler of this event; the debugger has the terminal until it ends."""
        place = (self._folds.current, self.position, self.looking.key)
        try:
            debugger.debug_handler(self.app, self._model, *place)
        except RefoldError as error:
            self.show_error(error.message)

    def action_reproduce(self) -> None:
        self._reproduce(self._folds.current, self.position, self.looking.key)

    @work(thread=True, exclusive=True, group="reproduce", exit_on_error=False)
    def _reproduce(self, wanted: Reference | None, position: int, key: str | None) -> None:
        try:
            said = reproduction.export_reproduction(self._model, wanted, position, key)
        except RefoldError as error:
            self.app.call_from_thread(self.show_error, error.message)
        else:
            self.app.call_from_thread(self.show_message, said)

    def close_code_pane(self) -> bool:
        """Close the code pane; return whether it was open."""
        if not self.has_class("-code"):
            return False
        self.action_code()
        return True

    def action_code(self) -> None:
        self.toggle_class("-code")
        self.query_one(CodePane).show_snapshot(self.looking.snapshot)
