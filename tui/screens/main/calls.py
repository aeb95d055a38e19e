"""Outside calls: list them, answer a missed call by hand, link an imported call to its event."""

from collections.abc import Callable
from functools import partial

from textual import work

from replay.history import recorded_calls
from replay.history.call_decisions import CallDecision
from replay.history.history import History
from storage.errors import RefoldError
from storage.plural import format_count
from tui.commands import requirement_names
from tui.results import projection_queries
from tui.screens.main.code import CodeScreen


class CallsScreen(CodeScreen):
    """The part of the main screen that shows and answers outside calls."""

    @property
    def available_needs(self) -> set[str]:
        history, snapshot = self._model.history, self.looking.snapshot
        return super().available_needs | requirement_names(
            calls=history is not None and history.fold_record.call_count > 0,
            called=snapshot is not None and bool(snapshot.calls),
        )

    def action_calls(self) -> None:
        self.run_query(partial(projection_queries.outside_calls, self._model))

    @property
    def missed(self) -> CallDecision | None:
        """The first call of this event without an answer; None if there is none."""
        snapshot = self.looking.snapshot
        calls = snapshot.calls if snapshot is not None else ()
        return next((call for call in calls if call.decision == "missed"), None)

    def action_answer(self) -> None:
        missed = self.missed
        if missed is not None:
            near = self.looking.snapshot.nearest_recordings if self.looking.snapshot else ()
            self.prompt("answer", near[0].recording.answer.value_json if near else "")

    def answer_call(self, text: str) -> None:
        missed, history = self.missed, self._model.history
        if missed is not None and history is not None:
            self._answer_missed(missed, history, text)

    @work(thread=True, exclusive=True, group="answer", exit_on_error=False)
    def _answer_missed(self, missed: CallDecision, history: History, text: str) -> None:
        self._change_recordings(lambda: recorded_calls.answer_missed_call(history, missed, text))

    @work(thread=True, exclusive=True, group="answer", exit_on_error=False)
    def action_assign(self) -> None:
        """Ask which of the imported calls without an event this event made."""
        left = recorded_calls.list_unassigned_recordings(self._model.workspace)
        if not left:
            self.app.call_from_thread(
                self.show_error, "No call is without an event: all recorded calls are linked."
            )
            return
        first = left[0]
        count = format_count(len(left), "call")
        message = f"{count} without an event. First, number {first.call}: {first.short_request}"
        self.app.call_from_thread(self.show_message, message)
        self.app.call_from_thread(self.prompt, "assign", str(first.call))

    def assign_call(self, text: str) -> None:
        self._assign(text)

    @work(thread=True, exclusive=True, group="answer", exit_on_error=False)
    def _assign(self, text: str) -> None:
        workspace, position = self._model.workspace, self.position
        self._change_recordings(lambda: recorded_calls.assign_recording(workspace, text, position))

    def _change_recordings(self, change: Callable[[], None]) -> None:
        """Change the recordings and fold again. Call it in a thread."""
        try:
            change()
        except RefoldError as error:
            self.app.call_from_thread(self.show_error, error.message)
        else:
            self.app.call_from_thread(self._folds.refold)
