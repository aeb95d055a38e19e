"""What-if timelines: fork at the position, edit events, compare with the parent, merge forks.

The first edit on the log itself asks for a name and forks the log. The screen shows a fork at once
and folds it in the background.
"""

import json
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from textual import work

from replay.forks import edit_builder
from storage.coordinates.edit_kind import EditKind
from storage.coordinates.event_labels import Label
from storage.errors import PositionError, QueryError, RefoldError
from storage.log.positions import START
from storage.plural import format_count
from storage.timelines import event_json, fork_store, forked_workspace
from storage.timelines.edits import EVENT_FIELDS, Edit, EditedEvent
from storage.timelines.forked_workspace import ForkedWorkspace, as_fork
from storage.workspace.workspace import MAIN_TIMELINE, Workspace
from tui.commands import requirement_names
from tui.results import fork_queries
from tui.screens.dialogs.editor import EditorScreen
from tui.screens.dialogs.timelines import TimelinesScreen
from tui.screens.main.calls import CallsScreen
from tui.screens.main.search import PromptInput
from tui.state import fork_edits
from tui.state.fork_edits import Wish
from tui.state.parent_comparison import ParentComparison, compare_with_parent
from tui.state.snapshot import TimelineView
from tui.widgets.bars import Prompt

if TYPE_CHECKING:
    from replay.forks.fork_merge import DocumentConflict

_NOTHING = EditedEvent(**dict.fromkeys(EVENT_FIELDS))


class ForksScreen(CallsScreen):
    """The part of the main screen that forks and edits timelines."""

    _pending_edit: Wish | None = None
    """The edit that waits for the name of its fork."""
    _wished_at: int = START
    """The position of the pending edit."""
    _merged_fork: str | None = None
    """The fork that the current fork will be merged with."""
    _conflicts: "Mapping[str, DocumentConflict]" = MappingProxyType({})
    """Documents that both merged forks changed, by key."""
    parent_comparison: ParentComparison | None = None
    """The current fork compared with its parent; None without a folded fork."""

    def show_timeline(self, outlook: TimelineView, position: int) -> None:
        """Show another timeline at a position."""
        raise NotImplementedError

    @property
    def _workspace(self) -> Workspace:
        return self._model.workspace

    @property
    def available_needs(self) -> set[str]:
        return super().available_needs | requirement_names(
            fork=bool(self._workspace.lineage),
            beside=self.parent_comparison is not None,
            conflict=self.conflict is not None,
        )

    # Prompts

    def on_prompt_entered(self, event: Prompt.Entered) -> None:
        # Textual calls the handlers of all base classes.
        text = event.text
        if event.purpose == "fork" and text:
            wish, self._pending_edit = self._pending_edit, None
            self._apply_edit(text, wish, None, self.position if wish is None else self._wished_at)
        elif event.purpose == "move" and text:
            self._request_edit(
                lambda made, at: made.move(at, fork_edits.resolve(made.workspace, text)),
                ("move", text),
            )
        elif event.purpose == "set" and text:
            self._set_event_value(text)
        elif event.purpose == "drop" and text:
            self._request_edit(
                lambda made, _: made.drop_all(made.find_matching_positions(text)), ("drop", text)
            )
        elif event.purpose == "join" and text and self._merged_fork is not None:
            self._merge_forks(self._merged_fork, text)
        elif event.purpose == "resolve" and text:
            self._resolve_conflict(text)
        elif event.purpose == "override" and text:
            self._override_call(text)

    # Edits

    def action_fork(self) -> None:
        """Ask for a name and fork the timeline at the position."""
        self._pending_edit = None
        self.prompt("fork", self._free_fork_name())

    def action_drop_event(self) -> None:
        if self._is_on_event():
            self._request_edit(lambda made, at: made.drop(at))

    def action_drop_matching(self) -> None:
        self.prompt("drop", self._filtered.text if self._filtered is not None else "")

    def action_replace_event(self) -> None:
        """Edit the event at the position as JSON."""
        snapshot, position = self.looking.snapshot, self.position
        if not self._is_on_event() or snapshot is None or snapshot.event is None:
            return
        there = EditedEvent(**{name: getattr(snapshot.event, name) for name in EVENT_FIELDS})

        def taken(text: str | None) -> None:
            if text is not None and event_json.parse_event(text, there) != there:
                self._request_edit(
                    lambda made, at: made.replace(at, text, there), position=position
                )

        title = f"edit event {self._model.position_label(position)}"
        check = partial(event_json.parse_event, base=there)
        self.app.push_screen(EditorScreen(title, event_json.format_event(there), check), taken)

    def action_insert_event(self) -> None:
        """Write a new event that follows the one at the position."""
        position = self.position
        snapshot = self.looking.snapshot
        event = None if snapshot is None else snapshot.event
        said: dict[str, object] = {
            "type": event.type if event else "",
            "stream": event.stream if event else "",
            "data": {},
        }

        def taken(text: str | None) -> None:
            if text is not None:
                self._request_edit(lambda made, at: made.insert(at, text), position=position)

        title = f"new event after {self._model.position_label(position)}"
        check = partial(event_json.parse_event, base=_NOTHING)
        self.app.push_screen(EditorScreen(title, json.dumps(said, indent=2), check), taken)

    def action_move_event(self) -> None:
        if self._is_on_event():
            self.prompt("move")

    def action_set_value(self) -> None:
        if self._is_on_event():
            self.prompt("set")

    def action_reverse_event(self) -> None:
        if self._is_on_event():
            self._request_edit(lambda made, at: made.reverse(at))

    def _set_event_value(self, text: str) -> None:
        path, equals, value = text.partition("=")
        if not equals:
            self._show_prompt_error(
                f"{text!r} is no assignment. Write FIELD = VALUE, such as amount = 0.",
                ("set", text),
            )
            return
        self._request_edit(
            lambda made, at: made.set(at, path.strip(), value.strip()), ("set", text)
        )

    def action_answer(self) -> None:
        """Answer the missed call; without one, override the event's first call on a fork."""
        snapshot = self.looking.snapshot
        if self.missed is not None or snapshot is None or not snapshot.calls:
            super().action_answer()
            return
        self.prompt("override", snapshot.calls[0].response or "")

    def _override_call(self, text: str) -> None:
        snapshot, position = self.looking.snapshot, self.position
        call = snapshot.calls[0] if snapshot is not None and snapshot.calls else None
        if call is None:
            return
        try:
            answer = json.loads(text)
            request = json.loads(call.request or "null")
        except (ValueError, RecursionError):
            self.show_error(
                f'{text!r} is not valid JSON. Type the response as JSON, such as "ok" or {{}}.'
            )
            return
        override = {"port": call.port, "operation": call.operation, "respond": answer}
        override |= {"from": position, "to": position}
        if isinstance(request, dict) and "url" not in request:
            override["request"] = request
        said = json.dumps(override)
        self._request_edit(
            lambda made, _: made.edits.append(Edit(EditKind.ANSWERS, Label(0), value=said))
        )

    def action_undo(self) -> None:
        self._undo_or_redo(edit_builder.undo_last_step, "undo")

    def action_redo(self) -> None:
        self._undo_or_redo(edit_builder.redo_last_step, "redo")

    def _is_on_event(self) -> bool:
        if self.position == START:
            self.show_error("There is no event to edit at the start. Press ] for the first event.")
            return False
        return True

    def _request_edit(
        self, wish: Wish, typed: PromptInput | None = None, position: int | None = None
    ) -> None:
        """Edit the current fork at a position (default: the current one). On any other timeline,
        ask for a name and fork first. `typed` is the prompt input to correct on an error."""
        position = self.position if position is None else position
        if self._workspace.lineage:
            self._apply_edit(None, wish, typed, position)
        else:
            self._pending_edit = wish
            self._wished_at = position
            # The prompt at which the edit was typed is still closing.
            self.call_after_refresh(self.prompt, "fork", self._free_fork_name())

    def _free_fork_name(self) -> str:
        taken = {one.name for one in self._model.timelines}
        return next(name for n in range(1, 10_000) if (name := f"what-if-{n}") not in taken)

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _apply_edit(
        self, name: str | None, wish: Wish | None, typed: PromptInput | None, position: int
    ) -> None:
        """Create a fork of that name, or edit the current fork, in a thread."""
        try:
            self._open_timeline(fork_edits.make(self._workspace, name, wish, position))
        except RefoldError as error:
            self.app.call_from_thread(self._show_prompt_error, error.message, typed)

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _undo_or_redo(
        self, turned: Callable[[ForkedWorkspace], ForkedWorkspace | None], what: str
    ) -> None:
        try:
            changed = fork_edits.turn(self._workspace, turned)
            if changed is None:
                self.app.call_from_thread(self.show_message, f"Nothing to {what}.")
            else:
                self._open_timeline(changed)
        except RefoldError as error:
            self.app.call_from_thread(self.show_error, error.message)

    def _open_timeline(self, workspace: Workspace, *, keep: bool = False) -> None:
        """Show another timeline at the same event. Call it in a thread."""
        fork = as_fork(workspace)
        if keep and fork is not None:
            edit_builder.save_fork(fork)
        outlook = self._model.query_timeline(workspace)
        label = self._workspace.label_at(self.position)
        try:
            position = workspace.position_of(label)
        except PositionError:
            position = workspace.position_of(
                Label(min(label.offset, outlook.extent.event_count - 1))
            )
        self.app.call_from_thread(self.show_timeline, outlook, position)

    # Timelines

    def action_timelines(self) -> None:
        self.app.push_screen(
            TimelinesScreen(self._model.timelines, self._workspace.timeline),
            self._on_timeline_chosen,
        )

    def _on_timeline_chosen(self, chosen: tuple[str, str] | None) -> None:
        if chosen is None:
            return
        what, name = chosen
        if what == "open":
            self._open_by_name(name)
        elif what == "remove":
            self._remove_fork(name)
        else:
            self._merged_fork = name
            self.prompt("join", f"{self._workspace.timeline}-{name}")

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _open_by_name(self, name: str) -> None:
        try:
            self._open_timeline(
                forked_workspace.open_timeline(self._workspace.main_workspace, name)
            )
        except RefoldError as error:
            self.app.call_from_thread(self.show_error, error.message)

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _remove_fork(self, name: str) -> None:
        workspace = self._workspace
        try:
            if name in (MAIN_TIMELINE, workspace.timeline):
                said = (
                    "The log itself can't be removed."
                    if name == MAIN_TIMELINE
                    else "This timeline is open. Open another one first."
                )
                self.app.call_from_thread(self.show_error, said)
                return
            fork_store.remove_fork(workspace.main_workspace, name)
            self._model.refresh_timelines()
            self.app.call_from_thread(self.show_message, f"Removed {name}.")
        except RefoldError as error:
            self.app.call_from_thread(self.show_error, error.message)

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _merge_forks(self, other: str, name: str) -> None:
        from replay.fold import fold_projection  # noqa: PLC0415 - it imports Arrow, and the first paint needn't
        from replay.forks import fork_merge  # noqa: PLC0415 - it imports Arrow, and most forks are never merged

        workspace, wanted = self._workspace, self._folds.current
        try:
            if wanted is None:
                raise QueryError("No code to run. Open the workspace with its projection: -p FILE.")
            fold = partial(fold_projection, reference=wanted)
            joined = fork_merge.merge_forks(
                workspace,
                forked_workspace.open_timeline(workspace.main_workspace, other),
                name,
                wanted,
                fold,
            )
            self._open_timeline(joined.forked_workspace)
            self._conflicts = {one.key: one for one in joined.document_conflicts}
            edited = format_count(len(joined.event_conflicts), "event")
            both = format_count(len(joined.document_conflicts), "document")
            conflicts = f"Conflicts: both edited {edited} and changed {both}. O resolves one."
            has_conflicts = joined.event_conflicts or joined.document_conflicts
            self.app.call_from_thread(
                self.show_message, conflicts if has_conflicts else "Merged without conflicts."
            )
            if joined.document_conflicts:
                found = partial(
                    fork_queries.merge_conflicts, self._model, joined.document_conflicts
                )
                self.app.call_from_thread(self.run_query, found)
        except RefoldError as error:
            self.app.call_from_thread(self.show_error, error.message)

    @property
    def conflict(self) -> "DocumentConflict | None":
        """The merge conflict of the selected document; None without one."""
        return self._conflicts.get(self.looking.key or "")

    def action_resolve(self) -> None:
        if self.conflict is not None:
            self.prompt("resolve", "a")

    @work(thread=True, exclusive=True, group="fork", exit_on_error=False)
    def _resolve_conflict(self, text: str) -> None:
        from replay.forks import fork_merge  # noqa: PLC0415 - it imports Arrow

        fork, conflict = as_fork(self._workspace), self.conflict
        try:
            if conflict is not None and fork is not None:
                made = fork_merge.resolve_conflict(fork, conflict, text)
                self._open_timeline(edit_builder.save_fork(made))
        except RefoldError as error:
            self.app.call_from_thread(self.show_error, error.message)

    # Comparing

    def action_compare(self) -> None:
        """List the documents that differ from the parent."""
        if self.parent_comparison is not None:
            self.run_query(
                partial(fork_queries.differing_documents, self._model, self.parent_comparison)
            )

    def action_compare_calls(self) -> None:
        """List the outside calls that differ from the parent."""
        if self.parent_comparison is not None:
            self.run_query(
                partial(fork_queries.differing_calls, self._model, self.parent_comparison)
            )

    def action_both_logs(self) -> None:
        """List the events of fork and parent side by side, around the edits."""
        fork = as_fork(self._workspace)
        if fork is not None:
            self.run_query(partial(fork_queries.side_by_side_events, self._model, fork))

    def compare_with_parent(self) -> None:
        """Compare the current fork with its parent, after a fold."""
        self._query_parent_comparison()

    @work(thread=True, exclusive=True, group="beside", exit_on_error=False)
    def _query_parent_comparison(self) -> None:
        found, said = None, ""
        workspace = self._workspace
        try:
            found = compare_with_parent(self._model.history)
            fork = as_fork(workspace)
            if fork is not None:
                said = fork_queries.what_if_banner(fork, found)
        except RefoldError as error:
            said = error.message
        self.app.call_from_thread(self._show_parent_comparison, workspace, found, said)

    def _show_parent_comparison(
        self, workspace: Workspace, found: ParentComparison | None, said: str
    ) -> None:
        if workspace is not self._workspace:
            return  # the screen shows another timeline by now
        self.parent_comparison = found
        self.show_what_if(said)
        self.looking.request_snapshot()

    def show_what_if(self, said: str) -> None:
        """Show the what-if banner while the timeline is hypothetical; an empty text hides it."""
        raise NotImplementedError
