"""Travelling: one position, and every pane follows.

Whoever wants to move time calls `go`; what stands there is then shown by `show`, when it is known.
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
from storage.timelines.workspace_view import Seen
from tui import commands
from tui.commands import COMMANDS, Command, bindings
from tui.folding.controller import Folds
from tui.results import fork_queries
from tui.screens.dialogs.help import HelpScreen
from tui.screens.main.log_follow import GrowingScreen
from tui.screens.main.strip import Overlooking
from tui.state import navigation
from tui.state.address import Address
from tui.state.navigation import Seeker
from tui.state.playback import Play
from tui.state.position_history import Jumps
from tui.state.session import Model
from tui.state.snapshot import Outlook, Settled, Snapshot
from tui.state.view_state import Looking
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
from tui.widgets.results_pane import FindingsPane

_PLAY_SECONDS = 0.1
_IDLE_SECONDS = 0.25


class TravelScreen(GrowingScreen):
    """The main screen."""

    BINDINGS: ClassVar[list[BindingType]] = bindings()

    def __init__(
        self, model: Model, folds: Folds, at: int | None, place: Address | None = None
    ) -> None:
        super().__init__(model, folds)
        self._place = place
        self._start_at = at
        self.looking = Looking(self, model, self)
        self._overlooking = Overlooking(self, model, self.complain)
        self._jumps = Jumps()
        self._play = Play()
        self._possible: list[Command] = []
        self._beside_of: History | None = None
        """The history for which it was found what stands beside it."""
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
        yield FindingsPane(id="findings")
        yield MessageLine(id="message")
        yield Prompt(id="prompt")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one(Prompt).display = False
        self.query_one(WhatIfLine).display = False
        events = self.query_one(EventsPane)
        events.show_all(self._model.extent.events)
        events.focus()
        last = self._model.extent.events - 1
        position = self._start_at if self._start_at is not None else last
        self._folds.stand_at(position)
        self._folds.begin(self._fold_changed)
        self._stand(position)
        if self._place is not None and self._place.key is not None:
            self.query_one(DocumentPane).point_at(paths.read(self._place.path or "$"))
            self.looking.select(self._place.key)
        self.set_interval(_IDLE_SECONDS, self._idle)
        self.set_interval(_PLAY_SECONDS, self._play_on)
        self.watch_growth()

    @work(thread=True, group="idle", exit_on_error=False)
    def _idle(self) -> None:
        """Other processes may write while nothing is asked; without a terminal there is nobody."""
        self._model.workspace.release()
        if self._terminal is not None and not os.isatty(self._terminal):
            # It hung up without a signal, and Textual would read its end again and again.
            os._exit(1)

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < 110, "-narrow")
        self.set_class(event.size.height >= 36, "-tall")
        self.set_class(event.size.width < 110 and event.size.height < 36, "-small")
        self._tell_header()

    # Moving through time

    def go(self, position: int, *, jump: bool = True) -> None:
        """Stand after another event; a jump can be gone back over."""
        position = max(START, min(position, self._model.extent.events - 1))
        if position == self.position:
            return
        if jump:
            self._jumps.leave(self.position)
        self._stand(position)

    def _stand(self, position: int) -> None:
        self.query_one(MessageLine).over()
        self.query_one(EventsPane).stand_at(position)
        self._overlooking.stand_at(position)
        findings = self.query_one(FindingsPane)
        if findings.display:
            findings.stand_at(position)
        self.looking.stand_at(position)

    # What Looking found

    def show(self, snapshot: Snapshot) -> None:
        with self.app.batch_update():
            self.query_one(PositionLine).show(snapshot, self._model.extent.events)
            self.query_one(EventPane).show(snapshot)
            self.query_one(DocumentPane).show(snapshot)
            self.query_one(DocumentsPane).touch(snapshot.touched)
            self.query_one(CodePane).show(snapshot)

    def still(self) -> None:
        self.stand_in_plot()
        self._folds.stand_at(self.position)
        possible = self.possible()
        if possible != self._possible:
            # The footer is laid out anew by it.
            self._possible = possible
            self.refresh_bindings()

    def settle(self, settled: Settled) -> None:
        self.query_one(DocumentPane).settle(settled)
        self.query_one(DocumentsPane).settle(settled, pinned=self.looking.pinned)
        sides = self._folds.edit or self.beside
        label = self._model.shown(settled.position)
        self.query_one(ComparedPane).look(sides, settled.key, settled.position, label)

    def complain(self, message: str) -> None:
        self.query_one(MessageLine).say(message, trouble=True)

    # What panes ask for

    def on_paged_list_picked(self, event: PagedList.Picked) -> None:
        if isinstance(event.sender, EventsPane):
            self.go(event.sender.offset_of(event.line), jump=False)
        elif isinstance(event.sender, FindingsPane):
            self.pick_finding(event)
        elif isinstance(event.sender, DocumentsPane):
            row = event.sender.row(event.line)
            if row is not None:
                self.looking.select(row.key)

    def on_density_strip_resized(self, event: DensityStrip.Resized) -> None:
        self._overlooking.look(event.columns)

    def on_density_strip_sought(self, event: DensityStrip.Sought) -> None:
        self.go(event.position, jump=not event.dragging)

    def draw_lanes(self) -> None:
        self._overlooking.draw_lanes()

    # Folding

    def _fold_changed(self) -> None:
        """More is folded, or another projection is looked at."""
        if not (self.query("Header") and self.query("DocumentsPane")):
            return  # the screen is being closed
        self.query_one(DocumentsPane).forget()
        self._tell_header()
        self._overlooking.look()
        self.draw_lanes()
        edit = self._folds.edit
        if edit is None and self._model.history is not self._beside_of:
            self._beside_of = self._model.history
            self.look_beside()
        self._show_sides()
        self.show_edit(edit)
        self.looking.look()

    def _show_sides(self) -> None:
        sides = self._folds.edit or self.beside
        self.set_class(sides is not None and sides.documents > 0, "-edited")

    def tell_what_if(self, said: str) -> None:
        self.query_one(WhatIfLine).say(said)
        self._show_sides()
        self.refresh_bindings()

    def see(self, outlook: Outlook, position: int) -> None:
        self.close_findings()
        self.close_plot()
        self._go_through(None)
        self._filtered = None
        self._jumps = Jumps()
        self.beside, self._beside_of = None, None
        self._model.see(outlook)
        fork = outlook.workspace
        self.tell_what_if(fork_queries.banner(fork, None) if isinstance(fork, Seen) else "")
        events = self.query_one(EventsPane)
        events.show_all(outlook.extent.events)
        self.query_one(DocumentsPane).forget()
        self._folds.see()
        events.stand_at(position)
        self._overlooking.stand_at(position)
        self.looking.stand_at(position)
        self.looking.look()
        self._tell_header()
        self._overlooking.look()

    def grown(self, position: int) -> None:
        self._stand(position)
        self.looking.look()
        self._tell_header()
        self._overlooking.look()
        self.draw_lanes()

    def _tell_header(self) -> None:
        place = [self._model.workspace.path.stem, self._model.workspace.timeline]
        if self._model.history is not None:
            folded = self._model.history.folded
            place.append(f"{folded.label} WHAT-IF" if folded.hypothetical else folded.label)
        elif self._folds.current is not None:
            place.append(self._folds.current.name)
        self.query_one(Header).say(place, self._folds.state(), trouble=self._folds.trouble)

    # Actions

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return commands.may(action, parameters, self.there)

    def possible(self) -> list[Command]:
        """What can be pressed now."""
        return commands.possible(self.there)

    def on_key(self, event: Key) -> None:
        """Digits before a command: so many times; with % a share of the log."""
        if self._count.hears(event.character):
            event.stop()
        elif event.character == "%" and (share := self._count.typed()) is not None:
            self.go(round(self._model.extent.events * min(share, 100) / 100) - 1)
        elif why := commands.missing(event.key, self.there):
            self.say(why)

    def action_step(self, way: int) -> None:
        times = self._count.times()
        self._step(way * times, jump=times > 1)

    def _step(self, by: int, *, jump: bool) -> None:
        """So many events on or back; where the list is filtered, of those that are shown."""
        if self._filtered is None:
            self.go(self.position + by, jump=jump)
            return
        events = self.query_one(EventsPane)
        line = events.cursor + by
        if by < 0 and events.cursor >= 0 and events.offset_of(events.cursor) < self.position:
            line += 1  # standing between two of them, the one before is the one under the cursor
        line = min(line, events.line_count - 1)
        if line >= 0:
            self.go(events.offset_of(line), jump=jump)

    def action_in_stream(self, way: int) -> None:
        self._seek(
            lambda: navigation.in_stream(self._model, self.position, way), self._count.times()
        )

    def action_change(self, way: int) -> None:
        key = self.looking.key
        self._seek(lambda: navigation.changes(self._model, key, way), self._count.times())

    def action_touched(self, way: int) -> None:
        """Who changed the value under the document's cursor?"""
        key, path = self.looking.key, self.query_one(DocumentPane).path
        self._seek(lambda: navigation.touches(self._model, key, path, way), self._count.times())

    def action_failure(self, way: int) -> None:
        self._seek(lambda: navigation.failures(self._model, way), self._count.times())

    @work(thread=True, exclusive=True, group="seek", exit_on_error=False)
    def _seek(self, choose: Callable[[], Seeker | None], times: int) -> None:
        worker, call = get_current_worker(), self.app.call_from_thread
        try:
            seeker = choose()
            if seeker is None:
                return
            position = seeker.go(self.position, times, enough=lambda: worker.is_cancelled)
        except RefoldError as error:
            call(self.complain, error.message)
            return
        if not worker.is_cancelled:
            call(self._sought, position, seeker.what)

    def _sought(self, position: int | None, what: str) -> None:
        if position is None:
            self.say(f"There is no {what}.")
        else:
            self.go(position)

    def action_to_start(self) -> None:
        self.go(START)

    def action_to_end(self) -> None:
        self.go(self._model.extent.events - 1)

    def action_jump_back(self) -> None:
        self._jumped(self._jumps.back(self.position))

    def action_jump_forward(self) -> None:
        self._jumped(self._jumps.forward(self.position))

    def _jumped(self, position: int | None) -> None:
        if position is not None:
            self._stand(position)

    def action_play(self) -> None:
        self._play.toggle()

    def action_speed(self, by: int) -> None:
        self._play.change_speed(by)
        self.say(f"Speed: {self._play.speed:,} events/s.")

    def _play_on(self) -> None:
        steps = self._play.steps(_PLAY_SECONDS)
        if not steps:
            return
        before = self.position
        self._step(steps, jump=False)
        self._play.on = self.position != before

    def action_prompt(self, purpose: str) -> None:
        self.prompt(purpose)

    def action_pin(self) -> None:
        self.looking.pin(not self.looking.pinned)

    def action_base(self) -> None:
        """Compare with this position from now on; again: with the event before, as ever."""
        self._model.base = self.position if self._model.base is None else None
        self.looking.look()

    def action_zoom(self) -> None:
        if self.maximized is not None:
            self.minimize()
        elif isinstance(self.focused, LineView):
            self.maximize(self.focused)

    def action_back(self) -> None:
        """Esc: give up what is going on, the least first."""
        if self.maximized is not None:
            self.minimize()
        elif self._play.on:
            self._play.toggle()
        elif self.stop_asking():
            pass
        elif self._folds.edit is not None and self._folds.edit.documents:
            self._folds.forget_edit()
        elif self.close_findings() or self.close_plot() or self.close_code():
            pass
        elif self._matches is not None:
            self._go_through(None)
        elif self._filtered is not None:
            self.clear_filter()
        elif self._model.base is not None:
            self.action_base()
        elif self.looking.pinned:
            self.looking.pin(pinned=False)

    def action_help(self) -> None:
        self.app.push_screen(HelpScreen(self.possible()), self._run_command)

    def _run_command(self, chosen: str | None) -> None:
        for command in COMMANDS:
            if command.id == chosen:
                self.call_later(self.run_action, command.action)
