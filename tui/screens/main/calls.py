"""Outside calls: answer a missed call by hand, link an imported call to its event."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from replay.history import recorded_calls
from replay.history.call_decisions import CallDecision
from storage.plural import format_count
from tui.screens.main.ports import Notifier, Prompts
from tui.state.query_runner import QueryRunner
from tui.state.view_state import ViewState


class Refolder(Protocol):
    """The folds, as far as they can be started."""

    def refold(self) -> None: ...


class CallController:
    """Changes recordings in threads; the projection is then folded again."""

    def __init__(
        self,
        state: ViewState,
        runner: QueryRunner,
        notifier: Notifier,
        prompts: Prompts,
        folds: Refolder,
    ) -> None:
        self._state = state
        self._runner = runner
        self._notifier = notifier
        self._prompts = prompts
        self._folds = folds
        prompts.answer_with("answer", self.answer)
        prompts.answer_with("assign", self.assign)

    @property
    def missed(self) -> CallDecision | None:
        """The first call of this event without an answer; None if there is none."""
        snapshot = self._state.snapshot
        calls = snapshot.calls if snapshot is not None else ()
        return next((call for call in calls if call.decision == "missed"), None)

    def open_answer_prompt(self) -> bool:
        """Ask for the answer of the missed call; return whether there is one."""
        snapshot = self._state.snapshot
        if self.missed is None or snapshot is None:
            return False
        near = snapshot.nearest_recordings
        self._prompts.open("answer", near[0].recording.answer.value_json if near else "")
        return True

    def answer(self, text: str) -> None:
        """Answer the missed call."""
        missed, history = self.missed, self._state.data.history
        if missed is not None and history is not None:
            self._change_recordings(
                partial(recorded_calls.answer_missed_call, history, missed, text)
            )

    def open_assign_prompt(self) -> None:
        """Ask which of the imported calls without an event this event made."""
        workspace = self._state.data.workspace

        def find(_: object) -> tuple[str, int | None] | None:
            unassigned = recorded_calls.list_unassigned_recordings(workspace)
            if not unassigned:
                return None
            first, count = unassigned[0], format_count(len(unassigned), "call")
            message = f"{count} without an event. First, number {first.call}: {first.short_request}"
            return message, first.call

        self._runner.run(find, self._ask_for_call, group="answer")

    def _ask_for_call(self, found: tuple[str, int | None] | None) -> None:
        if found is None:
            self._notifier.show_error("No call is without an event: all recorded calls are linked.")
            return
        message, call = found
        self._notifier.show_message(message)
        self._prompts.open("assign", str(call))

    def assign(self, text: str) -> None:
        """Link an imported call to the event at the position."""
        workspace, position = self._state.data.workspace, self._state.position
        self._change_recordings(partial(recorded_calls.assign_recording, workspace, text, position))

    def _change_recordings(self, change: Callable[[], object]) -> None:
        self._runner.run(
            lambda _: change(),
            lambda _: self._folds.refold(),
            group="answer",
            failure="The recording can't be saved",
        )
