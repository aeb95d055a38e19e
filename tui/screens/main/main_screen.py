"""The main screen: one position, and every pane follows it.

All movement goes through `go`. The snapshot of the new position is queried by `ViewState`, which then
calls `show_snapshot`.
"""

import os
import sys
from collections.abc import Callable
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Key, Resize
from textual.widgets import Footer
from textual.worker import get_current_worker

from replay.document import paths
from replay.history.history import History
from storage.errors import RefoldError
from storage.log.positions import START
from storage.timelines.forked_workspace import as_fork
from tui import commands
from tui.commands import COMMANDS, Command, bindings
from tui.folding.controller import FoldController
from tui.results import fork_queries
from tui.screens.dialogs.help import HelpScreen
from tui.screens.main.log_follow import LogFollowScreen
from tui.screens.main.strip import StripController
from tui.state import navigation
from tui.state.navigation import Seeker
from tui.state.playback import Playback
from tui.state.position_history import PositionHistory
from tui.state.session import Session
from tui.state.snapshot import LateDetails, Snapshot, TimelineView
from tui.state.view_address import Address
from tui.state.view_state import ViewState
from tui.widgets.bars import Header, MessageLine, PositionLine, Prompt, WhatIfLine
from tui.widgets.code_pane import CodePane
from tui.widgets.compared_pane import ComparedPane
from tui.widgets.density_strip import DensityStrip
from tui.widgets.document_pane import DocumentPane
from tui.widgets.documents_pane import DocumentsPane
from tui.widgets.event_pane import EventPane
from tui.widgets.events_pane import EventsPane
from tui.widgets.line_view import LineView
from tui.widgets.paged_list import PagedList
from tui.widgets.results_pane import ResultsPane

_PLAY_SECONDS = 0.1
_IDLE_SECONDS = 0.25


class MainScreen(LogFollowScreen):
    """The main screen: layout, movement through time, actions."""

    BINDINGS: ClassVar[list[BindingType]] = bindings()

    def __init__(
        self, model: Session, folds: FoldController, at: int | None, place: Address | None = None
    ) -> None:
        super().__init__(model, folds)
        self._place = place
        self._start_at = at
        self.looking = ViewState(self, model, self)
        self._overlooking = StripController(self, model, self.show_error)
        self._jumps = PositionHistory()
        self._play = Playback()
        self._possible: list[Command] = []
        self._beside_of: History | None = None
        """The history that was last compared with its parent."""
        entrance = sys.__stdin__
        self._terminal = entrance.fileno() if entrance and entrance.isatty() else None

    def compose(self) -> ComposeResult:
        yield Header(id="header")
        yield WhatIfLine(id="what-if")
        yield DensityStrip(id="strip")
        yield PositionLine(id="position")
        with Horizontal(id="panes"):
            with Vertical(id="lists"):
                yield EventsPane(self._model, id="events")
                yield DocumentsPane(self._model, id="documents")
            with Vertical(id="details"):
                with Horizontal(id="values"):
                    yield DocumentPane(id="document", title="document")
                    yield EventPane(id="event", title="event")
                yield ComparedPane(id="compared")
                yield CodePane(id="code")
        yield ResultsPane(id="findings")
        yield MessageLine(id="message")
        yield Prompt(id="prompt")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one(Prompt).display = False
        self.query_one(WhatIfLine).display = False
        events = self.query_one(EventsPane)
        events.show_all(self._model.extent.event_count)
        events.focus()
        last = self._model.extent.event_count - 1
        position = self._start_at if self._start_at is not None else last
        self._folds.fold_around(position)
        self._folds.begin(self._on_fold_changed)
        self._move_to(position)
        if self._place is not None and self._place.key is not None:
            self.query_one(DocumentPane).point_at(paths.parse_path(self._place.path or "$"))
            self.looking.select_document(self._place.key)
        self.set_interval(_IDLE_SECONDS, self._release_when_idle)
        self.set_interval(_PLAY_SECONDS, self._play_due_events)
        self.follow_log()

    @work(thread=True, group="idle", exit_on_error=False)
    def _release_when_idle(self) -> None:
        """Release the write lock while idle; exit if the terminal is gone."""
        self._model.workspace.release()
        if self._terminal is not None and not os.isatty(self._terminal):
            # The terminal closed without a signal; Textual would read end-of-file forever.
            os._exit(1)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < 110, "-narrow")
        self.set_class(event.size.height >= 36, "-tall")
        self.set_class(event.size.width < 110 and event.size.height < 36, "-small")
        self._update_header()

    # Moving through time

    def go(self, position: int, *, jump: bool = True) -> None:
        """Move to a position; with `jump` the old position is remembered for ctrl+o."""
        position = max(START, min(position, self._model.extent.event_count - 1))
        if position == self.position:
            return
        if jump:
            self._jumps.record_jump(self.position)
        self._move_to(position)

    def _move_to(self, position: int) -> None:
        self.query_one(MessageLine).clear_error()
        self.query_one(EventsPane).move_cursor_to(position)
        self._overlooking.move_cursor_to(position)
        findings = self.query_one(ResultsPane)
        if findings.display:
            findings.move_cursor_to(position)
        self.looking.move_to(position)

    # Called by ViewState

    def show_snapshot(self, snapshot: Snapshot) -> None:
        with self.app.batch_update():
            self.query_one(PositionLine).show_snapshot(snapshot, self._model.extent.event_count)
            self.query_one(EventPane).show_snapshot(snapshot)
            self.query_one(DocumentPane).show_snapshot(snapshot)
            self.query_one(DocumentsPane).mark_changed(snapshot.changed_keys)
            self.query_one(CodePane).show_snapshot(snapshot)

    def on_settled(self) -> None:
        self.show_position_in_plot()
        self._folds.fold_around(self.position)
        possible = self.available_commands()
        if possible != self._possible:
            # This lays out the footer, so do it only if commands changed.
            self._possible = possible
            self.refresh_bindings()

    def show_late_details(self, settled: LateDetails) -> None:
        self.query_one(DocumentPane).show_late_details(settled)
        self.query_one(DocumentsPane).show_late_details(settled, pinned=self.looking.pinned)
        sides = self._folds.edit or self.parent_comparison
        label = self._model.position_label(settled.position)
        self.query_one(ComparedPane).show_document(sides, settled.key, settled.position, label)

    def show_error(self, message: str) -> None:
        self.query_one(MessageLine).show_message(message, trouble=True)

    # Messages of the panes

    def on_paged_list_picked(self, event: PagedList.Picked) -> None:
        if isinstance(event.sender, EventsPane):
            self.go(event.sender.offset_of(event.line), jump=False)
        elif isinstance(event.sender, ResultsPane):
            self.go_to_picked_row(event)
        elif isinstance(event.sender, DocumentsPane):
            row = event.sender.row(event.line)
            if row is not None:
                self.looking.select_document(row.key)

    def on_density_strip_resized(self, event: DensityStrip.Resized) -> None:
        self._overlooking.refresh_overview(event.columns)

    def on_density_strip_seek_requested(self, event: DensityStrip.SeekRequested) -> None:
        self.go(event.position, jump=not event.dragging)

    def draw_lanes(self) -> None:
        self._overlooking.refresh_lanes()

    # Folding

    def _on_fold_changed(self) -> None:
        """Redraw after a step of a fold, or for another projection."""
        if not (self.query("Header") and self.query("DocumentsPane")):
            return  # the screen is closing
        self.query_one(DocumentsPane).clear_pages()
        self._update_header()
        self._overlooking.refresh_overview()
        self.draw_lanes()
        edit = self._folds.edit
        if edit is None and self._model.history is not self._beside_of:
            self._beside_of = self._model.history
            self.compare_with_parent()
        self._update_side_panes()
        self.show_code_edit(edit)
        self.looking.request_snapshot()

    def _update_side_panes(self) -> None:
        sides = self._folds.edit or self.parent_comparison
        self.set_class(sides is not None and sides.differing_documents > 0, "-edited")

    def show_what_if(self, said: str) -> None:
        self.query_one(WhatIfLine).show_text(said)
        self._update_side_panes()
        self.refresh_bindings()

    def show_timeline(self, outlook: TimelineView, position: int) -> None:
        self.close_results()
        self.close_plot()
        self._set_matches(None)
        self._filtered = None
        self._jumps = PositionHistory()
        self.parent_comparison, self._beside_of = None, None
        self._model.show_timeline(outlook)
        fork = as_fork(outlook.workspace)
        self.show_what_if("" if fork is None else fork_queries.what_if_banner(fork, None))
        events = self.query_one(EventsPane)
        events.show_all(outlook.extent.event_count)
        self.query_one(DocumentsPane).clear_pages()
        self._folds.show_timeline()
        events.move_cursor_to(position)
        self._overlooking.move_cursor_to(position)
        self.looking.move_to(position)
        self.looking.request_snapshot()
        self._update_header()
        self._overlooking.refresh_overview()

    def show_new_events(self, position: int) -> None:
        self._move_to(position)
        self.looking.request_snapshot()
        self._update_header()
        self._overlooking.refresh_overview()
        self.draw_lanes()

    def _update_header(self) -> None:
        place = [self._model.workspace.path.stem, self._model.workspace.timeline]
        if self._model.history is not None:
            folded = self._model.history.fold_record
            place.append(f"{folded.label} WHAT-IF" if folded.is_hypothetical else folded.label)
        elif self._folds.current is not None:
            place.append(self._folds.current.name)
        self.query_one(Header).show_path(
            place, self._folds.status_text(), trouble=self._folds.trouble
        )

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return commands.is_available(action, parameters, self.available_needs)

    def available_commands(self) -> list[Command]:
        """The commands that work now."""
        return commands.available_commands(self.available_needs)

    def on_key(self, event: Key) -> None:
        """Collect digits as a count before a command; with % they are a share of the log."""
        if self._count.accepts(event.character):
            event.stop()
        elif event.character == "%" and (share := self._count.take_number()) is not None:
            self.go(round(self._model.extent.event_count * min(share, 100) / 100) - 1)
        elif why := commands.missing_requirement(event.key, self.available_needs):
            self.show_message(why)

    def action_step(self, way: int) -> None:
        times = self._count.take_repetitions()
        self._step(way * times, jump=times > 1)

    def _step(self, by: int, *, jump: bool) -> None:
        """Move by a number of events, of those that pass the filter if one is set."""
        if self._filtered is None:
            self.go(self.position + by, jump=jump)
            return
        events = self.query_one(EventsPane)
        line = events.cursor + by
        if by < 0 and events.cursor >= 0 and events.offset_of(events.cursor) < self.position:
            line += 1  # between two filtered events, the cursor is on the previous one
        line = min(line, events.line_count - 1)
        if line >= 0:
            self.go(events.offset_of(line), jump=jump)

    def action_in_stream(self, way: int) -> None:
        self._seek(
            lambda: navigation.stream_seeker(self._model, self.position, way),
            self._count.take_repetitions(),
        )

    def action_change(self, way: int) -> None:
        key = self.looking.key
        self._seek(
            lambda: navigation.change_seeker(self._model, key, way), self._count.take_repetitions()
        )

    def action_touched(self, way: int) -> None:
        """Go to the last (-1) or next (1) change of the value under the document's cursor."""
        key, path = self.looking.key, self.query_one(DocumentPane).path
        self._seek(
            lambda: navigation.value_change_seeker(self._model, key, path, way),
            self._count.take_repetitions(),
        )

    def action_failure(self, way: int) -> None:
        self._seek(
            lambda: navigation.failure_seeker(self._model, way), self._count.take_repetitions()
        )

    @work(thread=True, exclusive=True, group="seek", exit_on_error=False)
    def _seek(self, choose: Callable[[], Seeker | None], times: int) -> None:
        worker, call = get_current_worker(), self.app.call_from_thread
        try:
            seeker = choose()
            if seeker is None:
                return
            position = seeker.seek(self.position, times, enough=lambda: worker.is_cancelled)
        except RefoldError as error:
            call(self.show_error, error.message)
            return
        if not worker.is_cancelled:
            call(self._on_seek_done, position, seeker.noun)

    def _on_seek_done(self, position: int | None, what: str) -> None:
        if position is None:
            self.show_message(f"No {what}.")
        else:
            self.go(position)

    def action_to_start(self) -> None:
        self.go(START)

    def action_to_end(self) -> None:
        self.go(self._model.extent.event_count - 1)

    def action_jump_back(self) -> None:
        self._on_jump(self._jumps.back(self.position))

    def action_jump_forward(self) -> None:
        self._on_jump(self._jumps.forward(self.position))

    def _on_jump(self, position: int | None) -> None:
        if position is not None:
            self._move_to(position)

    def action_play(self) -> None:
        self._play.toggle()

    def action_speed(self, by: int) -> None:
        self._play.change_speed(by)
        self.show_message(f"Play speed: {self._play.speed:,} events/s.")

    def _play_due_events(self) -> None:
        steps = self._play.due_steps(_PLAY_SECONDS)
        if not steps:
            return
        before = self.position
        self._step(steps, jump=False)
        self._play.on = self.position != before

    def action_prompt(self, purpose: str) -> None:
        self.prompt(purpose)

    def action_pin(self) -> None:
        self.looking.set_pinned(not self.looking.pinned)

    def action_base(self) -> None:
        """Show differences from this position; again: from the previous event, as usual."""
        self._model.base = self.position if self._model.base is None else None
        self.looking.request_snapshot()

    def action_zoom(self) -> None:
        if self.maximized is not None:
            self.minimize()
        elif isinstance(self.focused, LineView):
            self.maximize(self.focused)

    def action_back(self) -> None:
        """Close or cancel the innermost of what is open, on Esc."""
        if self.maximized is not None:
            self.minimize()
        elif self._play.on:
            self._play.toggle()
        elif self.stop_query():
            pass
        elif self._folds.edit is not None and self._folds.edit.differing_documents:
            self._folds.clear_code_edit()
        elif self.close_results() or self.close_plot() or self.close_code_pane():
            pass
        elif self._matches is not None:
            self._set_matches(None)
        elif self._filtered is not None:
            self.clear_filter()
        elif self._model.base is not None:
            self.action_base()
        elif self.looking.pinned:
            self.looking.set_pinned(pinned=False)

    def action_help(self) -> None:
        self.app.push_screen(HelpScreen(self.available_commands()), self._run_command)

    def _run_command(self, chosen: str | None) -> None:
        for command in COMMANDS:
            if command.id == chosen:
                self.call_later(self.run_action, command.action)
