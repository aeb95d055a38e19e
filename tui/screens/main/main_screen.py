"""The main screen: it yields the widgets, creates the controllers, and passes messages on to them.

The view state holds what is shown. Controllers change it, and the panes follow it.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.events import Key, Resize
from textual.screen import Screen
from textual.timer import Timer

from replay.document import paths
from tui import commands
from tui.commands import Command, bindings
from tui.folding.controller import FoldController
from tui.screens.dialogs.help import HelpScreen
from tui.screens.main import debugger
from tui.screens.main.command_table import build_command_table, list_ways_back
from tui.screens.main.controllers import Controllers
from tui.screens.main.escape import EscapeController
from tui.screens.main.header import describe_path
from tui.screens.main.panes import Panes
from tui.screens.main.plots import PlotView
from tui.screens.main.requirements import find_met_requirements
from tui.state.query_runner import ThreadQueryRunner
from tui.state.snapshot import LateDetails
from tui.state.view_address import Address
from tui.state.view_state import ViewChange, ViewState
from tui.widgets.bars import Prompt
from tui.widgets.density_strip import DensityStrip
from tui.widgets.line_view import LineView
from tui.widgets.paged_list import PagedList


class MainScreen(Screen[None]):
    """The screen over one workspace."""

    BINDINGS: ClassVar[list[BindingType]] = bindings()

    def __init__(
        self,
        state: ViewState,
        folds: FoldController,
        at: int | None = None,
        address: Address | None = None,
    ) -> None:
        """Open the view of an address, or a position; by default the end of the log."""
        super().__init__()
        self.state = state
        self.folds = folds
        self._start = at
        self._address = address
        self.panes = panes = Panes()
        self._plot: Any = None
        """The pane with the plot, from the first plot on."""
        runner = ThreadQueryRunner(self, panes.message.show_error)
        self.controllers = Controllers(state, folds, panes, runner, panes.message, Host(self))
        self._table = {
            **build_command_table(state, folds, self.controllers),
            "pane.zoom": self._zoom,
            "help": self._open_help,
            "back": EscapeController(
                [self._restore_pane, *list_ways_back(state, folds, self.controllers)]
            ).go_back,
        }
        self._available: list[Command] = []
        state.observe(self._on_position, ViewChange.POSITION)
        state.observe(self._on_snapshot, ViewChange.SNAPSHOT)
        state.observe(self._on_data, ViewChange.TIMELINE, ViewChange.HISTORY, ViewChange.LOG)
        state.observe(self._on_panes, ViewChange.PANE)

    def compose(self) -> ComposeResult:
        yield from self.panes.compose()

    def on_mount(self) -> None:
        controllers, state = self.controllers, self.state
        self.panes.hide_closed()
        controllers.search.show_all_events()
        self.panes.events.focus()
        last = state.data.timeline.last_position
        state.move_to(last if self._start is None else self._start)
        self.folds.begin(self._on_fold_changed)
        if self._address is not None and self._address.key is not None:
            self.panes.document.point_at(paths.parse_path(self._address.path or "$"))
            state.select_document(self._address.key)
        self.watch(self.panes.document, "cursor", controllers.code.mark_lines, init=False)
        self.set_interval(controllers.idle.TICK_SECONDS, controllers.idle.tick)
        self.set_interval(controllers.playback.TICK_SECONDS, controllers.playback.tick)
        self.set_interval(controllers.follow.POLL_SECONDS, controllers.follow.poll)

    # The panes follow the view state

    def on_resize(self, event: Resize) -> None:
        self.set_class(event.size.width < 110, "-narrow")
        self.set_class(event.size.height >= 36, "-tall")
        self.set_class(event.size.width < 110 and event.size.height < 36, "-small")
        self._update_header()

    def _on_position(self) -> None:
        self.panes.message.clear_error()
        self.panes.move_cursors(self.state.position)

    def _on_snapshot(self) -> None:
        if self.state.snapshot is not None:
            with self.app.batch_update():
                count = self.state.data.extent.event_count
                self.panes.show_snapshot(self.state.snapshot, count)

    def on_settled(self) -> None:
        """Update what is too slow for a step. Called when the position hasn't changed for a moment."""
        self.controllers.plots.move_cursor()
        self.folds.fold_around_position()
        available = self.available_commands()
        if available != self._available:
            # This lays out the footer, so do it only if commands changed.
            self._available = available
            self.refresh_bindings()

    def on_late_details(self, details: LateDetails) -> None:
        """Show the slower details of a position."""
        self.panes.show_late_details(details, pinned=self.state.view.is_pinned)
        self.controllers.comparison.show_document(details)

    def _on_data(self) -> None:
        self.panes.show_data(self.state.view)
        self.panes.move_cursors(self.state.position)
        self._update_header()

    def _on_panes(self) -> None:
        self.panes.show_lower_pane(self.state.view, self._plot)
        self.set_class(self.state.view.is_code_open, "-code")
        self.refresh_bindings()

    def _on_fold_changed(self) -> None:
        """Redraw after a step of a fold, or for another projection."""
        if not self.is_attached or not self.panes.header.is_attached:
            return  # the screen is closing
        self._update_header()
        self.controllers.comparison.compare_with_parent()
        self._update_side_panes()
        self.controllers.results.show_code_edit(self.folds.edit)
        self.controllers.snapshots.request()

    def _update_side_panes(self) -> None:
        self.set_class(self.controllers.comparison.has_differences, "-edited")

    def show_banner(self, text: str) -> None:
        """Show the what-if banner while the timeline is hypothetical; an empty text hides it."""
        self.panes.what_if.show_text(text)
        self._update_side_panes()
        self.refresh_bindings()

    def _update_header(self) -> None:
        self.panes.header.show_path(
            describe_path(self.state.data, self.folds.current),
            self.folds.status_text(),
            trouble=self.folds.trouble,
        )

    # Messages of the panes

    def on_paged_list_picked(self, event: PagedList.Picked) -> None:
        navigation, panes = self.controllers.navigation, self.panes
        if event.sender is panes.events:
            navigation.go(panes.events.offset_of(event.line), jump=False)
        elif event.sender is panes.results:
            self.controllers.results.go_to_line(event.line)
        elif event.sender is panes.documents and (row := panes.documents.row(event.line)):
            self.state.select_document(row.key)

    def on_density_strip_resized(self, event: DensityStrip.Resized) -> None:
        self.controllers.strip.resize(event.columns)

    def on_density_strip_seek_requested(self, event: DensityStrip.SeekRequested) -> None:
        self.controllers.navigation.go(event.position, jump=not event.dragging)

    def on_plot_pane_seek_requested(self, event: Any) -> None:
        self.controllers.navigation.go(event.position)

    def on_prompt_entered(self, event: Prompt.Entered) -> None:
        self.controllers.prompts.enter(event.purpose, event.text)

    def on_prompt_closed(self) -> None:
        self.controllers.prompts.close()

    # Commands

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action != "command":
            return super().check_action(action, parameters)
        return commands.is_available(str(parameters[0]), self._met_requirements())

    def action_command(self, command_id: str) -> None:
        """Run a command of `tui.commands`."""
        self._table[command_id]()

    def _met_requirements(self) -> set[str]:
        controllers = self.controllers
        return find_met_requirements(
            *(self.state, self.folds, controllers.search, controllers.results),
            *(controllers.comparison, controllers.merges),
        )

    def available_commands(self) -> list[Command]:
        """The commands that work now."""
        return commands.available_commands(self._met_requirements())

    def on_key(self, event: Key) -> None:
        """Collect digits as a count before a command; with % they are a share of the log."""
        count = self.controllers.count
        if count.accepts(event.character):
            event.stop()
        elif event.character == "%" and (share := count.take_number()) is not None:
            self.controllers.navigation.go_to_share(share)
        elif why := commands.missing_requirement(event.key, self._met_requirements()):
            self.panes.message.show_message(why)

    def _restore_pane(self) -> bool:
        is_maximized = self.maximized is not None
        if is_maximized:
            self.minimize()
        return is_maximized

    def _zoom(self) -> None:
        if not self._restore_pane() and isinstance(self.focused, LineView):
            self.maximize(self.focused)

    def _open_help(self) -> None:
        def run(chosen: str | None) -> None:
            if chosen is not None:
                self.run_command(chosen)

        self.app.push_screen(HelpScreen(self.available_commands()), run)

    def run_command(self, command_id: str) -> None:
        """Run a command after the pending messages."""
        action = next(one.textual_action for one in commands.COMMANDS if one.id == command_id)
        self.call_later(self.run_action, action)

    def create_plot_pane(self) -> PlotView:
        """Mount the pane for plots."""
        from tui.widgets.plot_pane import PlotPane  # noqa: PLC0415 - only plots need numpy

        pane = PlotPane(id="plotted")
        self._plot = pane
        self.mount(pane, before=self.panes.message)
        return pane


class Host:
    """What controllers need of a mounted screen and of its application."""

    def __init__(self, screen: MainScreen) -> None:
        self._screen = screen
        self.call_later = screen.call_later
        self.call_after_refresh = screen.call_after_refresh
        self.show_banner = screen.show_banner
        self.create_plot_pane = screen.create_plot_pane
        self.on_settled = screen.on_settled
        self.on_late_details = screen.on_late_details

    def set_timer(self, delay: float, callback: Callable[[], Any]) -> Timer:
        return self._screen.set_timer(delay, callback)

    def push_screen(self, screen: Any, callback: Callable[[Any], Any] | None = None) -> object:
        return self._screen.app.push_screen(screen, callback)

    def copy_to_clipboard(self, text: str) -> None:
        self._screen.app.copy_to_clipboard(text)

    def debug(self, *place: Any) -> None:
        debugger.debug_handler(self._screen.app, *place)

    def end(self) -> None:
        self._screen.app.exit(return_code=1)

    def focused_text(self) -> str:
        return self._screen.panes.focused_json(self._screen.focused)
