"""Calls to the outside: listed, answered by hand, and given to the events that made them."""

from collections.abc import Callable
from functools import partial

from textual import work

from replay.history import call_decisions
from replay.history.call_decisions import Decided
from replay.history.history import History
from storage.errors import RefoldError
from storage.plural import counted
from tui.commands import holding
from tui.results import projection_queries
from tui.screens.main.code import CodeScreen


class CallsScreen(CodeScreen):
    """The part of the travel screen that is about the gateway."""

    @property
    def there(self) -> set[str]:
        history, snapshot = self._model.history, self.looking.snapshot
        return super().there | holding(
            calls=history is not None and history.folded.calls > 0,
            called=snapshot is not None and bool(snapshot.calls),
        )

    def action_calls(self) -> None:
        self.ask(partial(projection_queries.calls, self._model))

    @property
    def missed(self) -> Decided | None:
        """The first call of this event that nothing answered."""
        snapshot = self.looking.snapshot
        calls = snapshot.calls if snapshot is not None else ()
        return next((call for call in calls if call.decision == "missed"), None)

    def action_answer(self) -> None:
        missed = self.missed
        if missed is not None:
            near = self.looking.snapshot.near if self.looking.snapshot else ()
            self.prompt("answer", near[0].recorded.answer.shown if near else "")

    def answer(self, text: str) -> None:
        missed, history = self.missed, self._model.history
        if missed is not None and history is not None:
            self._answer_missed(missed, history, text)

    @work(thread=True, exclusive=True, group="answer", exit_on_error=False)
    def _answer_missed(self, missed: Decided, history: History, text: str) -> None:
        self._change_recordings(lambda: call_decisions.answer(history, missed, text))

    @work(thread=True, exclusive=True, group="answer", exit_on_error=False)
    def action_assign(self) -> None:
        """Ask which of the imported calls of no known event this event made."""
        left = call_decisions.unassigned(self._model.workspace)
        if not left:
            self.app.call_from_thread(self.complain, "Every call that was recorded has its event.")
            return
        first = left[0]
        told = f"{counted(len(left), 'call')} without an event; {first.call}: {first.asked}"
        self.app.call_from_thread(self.say, told)
        self.app.call_from_thread(self.prompt, "assign", str(first.call))

    def assign(self, text: str) -> None:
        self._assign(text)

    @work(thread=True, exclusive=True, group="answer", exit_on_error=False)
    def _assign(self, text: str) -> None:
        workspace, position = self._model.workspace, self.position
        self._change_recordings(lambda: call_decisions.assign(workspace, text, position))

    def _change_recordings(self, change: Callable[[], None]) -> None:
        """In a thread: change them, and fold anew."""
        try:
            change()
        except RefoldError as error:
            self.app.call_from_thread(self.complain, error.message)
        else:
            self.app.call_from_thread(self._folds.anew)
