"""What-if forks: fork at the position, and edit events.

The first edit on the log itself asks for a name and forks the log. The screen shows a fork at once
and folds it in the background.
"""

import json
from collections.abc import Callable
from functools import partial

from replay.forks import edit_builder
from replay.forks.edit_builder import EditBuilder
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.log.positions import START
from storage.timelines import event_json
from storage.timelines.edits import EVENT_FIELDS, Edit, EditedEvent
from storage.timelines.forked_workspace import ForkedWorkspace
from tui.screens.dialogs.editor import EditorScreen
from tui.screens.main.calls import CallController
from tui.screens.main.ports import Notifier, PromptInput, Prompts, ScreenOpener
from tui.screens.main.search import SearchController
from tui.screens.main.timelines import TimelineController
from tui.state import fork_edits
from tui.state.fork_edits import EditRequest
from tui.state.view_state import ViewState

_NO_FIELDS = EditedEvent(**dict.fromkeys(EVENT_FIELDS))


class ForkController:
    """Forks the shown timeline, and edits the shown fork."""

    def __init__(
        self,
        state: ViewState,
        notifier: Notifier,
        prompts: Prompts,
        screens: ScreenOpener,
        timelines: TimelineController,
        calls: CallController,
        search: SearchController,
    ) -> None:
        self._state = state
        self._notifier = notifier
        self._prompts = prompts
        self._screens = screens
        self._timelines = timelines
        self._calls = calls
        self._search = search
        self._pending: tuple[EditRequest, int] | None = None
        """The edit that waits for the name of its fork, and the position that it is for."""
        prompts.answer_with("fork", self.create)
        prompts.answer_with("move", self.move_event)
        prompts.answer_with("set", self.set_value)
        prompts.answer_with("drop", self.drop_matching)
        prompts.answer_with("override", self.override_call)

    def ask_name(self) -> None:
        """Ask for a name and fork the timeline at the position."""
        self._pending = None
        self._prompts.open("fork", self._free_name())

    def create(self, name: str) -> None:
        """Create a fork, with the edit that waits for it."""
        pending, self._pending = self._pending, None
        edit, position = (None, self._state.position) if pending is None else pending
        self._apply(name, edit, None, position)

    def drop_event(self) -> None:
        """Drop the event at the position."""
        if self._is_on_event():
            self._request(lambda builder, at: builder.drop(at))

    def ask_dropped(self) -> None:
        """Ask which events to drop; the filter is proposed."""
        self._prompts.open("drop", self._search.filter_text)

    def drop_matching(self, condition: str) -> None:
        """Drop all events that match a condition."""
        self._request(
            lambda builder, _: builder.drop_all(builder.find_matching_positions(condition)),
            PromptInput("drop", condition),
        )

    def replace_event(self) -> None:
        """Edit the event at the position as JSON."""
        snapshot, position = self._state.snapshot, self._state.position
        if not self._is_on_event() or snapshot is None or snapshot.event is None:
            return
        event = EditedEvent(**{name: getattr(snapshot.event, name) for name in EVENT_FIELDS})

        def save(text: str | None) -> None:
            if text is not None and event_json.parse_event(text, event) != event:
                self._request(
                    lambda builder, at: builder.replace(at, text, event), position=position
                )

        title = f"edit event {self._state.data.timeline.position_label(position)}"
        check = partial(event_json.parse_event, base=event)
        editor = EditorScreen(title, event_json.format_event(event), check)
        self._screens.push_screen(editor, save)

    def insert_event(self) -> None:
        """Write a new event that follows the one at the position."""
        snapshot, position = self._state.snapshot, self._state.position
        event = None if snapshot is None else snapshot.event
        fields: dict[str, object] = {
            "type": event.type if event else "",
            "stream": event.stream if event else "",
            "data": {},
        }

        def save(text: str | None) -> None:
            if text is not None:
                self._request(lambda builder, at: builder.insert(at, text), position=position)

        title = f"new event after {self._state.data.timeline.position_label(position)}"
        check = partial(event_json.parse_event, base=_NO_FIELDS)
        self._screens.push_screen(EditorScreen(title, json.dumps(fields, indent=2), check), save)

    def ask_destination(self) -> None:
        """Ask where to move the event at the position."""
        if self._is_on_event():
            self._prompts.open("move")

    def move_event(self, text: str) -> None:
        """Move the event at the position to another one."""
        self._request(
            lambda builder, at: builder.move(at, fork_edits.resolve(builder.workspace, text)),
            PromptInput("move", text),
        )

    def ask_value(self) -> None:
        """Ask which value of the event at the position to set."""
        if self._is_on_event():
            self._prompts.open("set")

    def set_value(self, text: str) -> None:
        """Set a value of the event at the position, from `FIELD = VALUE`."""
        typed = PromptInput("set", text)
        path, equals, value = text.partition("=")
        if not equals:
            self._prompts.correct(
                f"{text!r} is no assignment. Write FIELD = VALUE, such as amount = 0.", typed
            )
            return
        self._request(lambda builder, at: builder.set(at, path.strip(), value.strip()), typed)

    def reverse_event(self) -> None:
        """Append an event that reverses the one at the position."""
        if self._is_on_event():
            self._request(lambda builder, at: builder.reverse(at))

    def answer_or_override_call(self) -> None:
        """Answer the missed call; without one, override the event's first call on a fork."""
        snapshot = self._state.snapshot
        if not self._calls.open_answer_prompt() and snapshot is not None and snapshot.calls:
            self._prompts.open("override", snapshot.calls[0].response or "")

    def override_call(self, text: str) -> None:
        """Override the response of the event's first call."""
        snapshot, position = self._state.snapshot, self._state.position
        call = snapshot.calls[0] if snapshot is not None and snapshot.calls else None
        if call is None:
            return
        try:
            response = json.loads(text)
            request = json.loads(call.request or "null")
        except (ValueError, RecursionError):
            self._notifier.show_error(
                f'{text!r} is not valid JSON. Type the response as JSON, such as "ok" or {{}}.'
            )
            return
        override = {"port": call.port, "operation": call.operation, "respond": response}
        override |= {"from": position, "to": position}
        if isinstance(request, dict) and "url" not in request:
            override["request"] = request
        edit = Edit(EditKind.ANSWERS, Label(0), value=json.dumps(override))

        def append(builder: EditBuilder, _: int) -> None:
            builder.edits.append(edit)

        self._request(append)

    def undo(self) -> None:
        """Undo the last edit of the fork."""
        self._turn(edit_builder.undo_last_step, "undo")

    def redo(self) -> None:
        """Redo the edit that was undone last."""
        self._turn(edit_builder.redo_last_step, "redo")

    def _turn(self, turned: Callable[[ForkedWorkspace], ForkedWorkspace | None], what: str) -> None:
        find = partial(fork_edits.turn, self._state.data.workspace, turned)
        self._timelines.open_workspace(find, otherwise=f"Nothing to {what}.")

    def _is_on_event(self) -> bool:
        if self._state.position == START:
            self._notifier.show_error(
                "There is no event to edit at the start. Press ] for the first event."
            )
            return False
        return True

    def _request(
        self, edit: EditRequest, typed: PromptInput | None = None, position: int | None = None
    ) -> None:
        """Edit the current fork at a position (default: the current one). On any other timeline,
        ask for a name and fork first. `typed` is the prompt input to correct on an error."""
        position = self._state.position if position is None else position
        if self._state.data.fork is not None:
            self._apply(None, edit, typed, position)
        else:
            self._pending = edit, position
            self._prompts.open_later("fork", self._free_name())

    def _free_name(self) -> str:
        taken = self._state.data.fork_names
        return next(name for n in range(1, 10_000) if (name := f"what-if-{n}") not in taken)

    def _apply(
        self, name: str | None, edit: EditRequest | None, typed: PromptInput | None, position: int
    ) -> None:
        """Create a fork of that name, or edit the current fork."""
        find = partial(fork_edits.make, self._state.data.workspace, name, edit, position)
        self._timelines.open_workspace(find, typed=typed)
