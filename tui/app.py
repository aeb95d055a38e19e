"""The Textual application: one main screen over one workspace.

No control character of an event reaches the terminal.
"""

import asyncio
import signal
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import ClassVar

from rich.segment import Segment
from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.color import Color
from textual.filter import LineFilter
from textual.screen import Screen

from replay.projection.projection_reference import Reference
from storage.workspace.workspace import Workspace
from tui.folding.controller import FoldController
from tui.screens.main.main_screen import MainScreen
from tui.state.timeline_view import query_timeline
from tui.state.view_address import Address
from tui.state.view_state import ViewState
from tui.text.sanitize import sanitize_line


class _ControlCharacterFilter(LineFilter):
    """Replace control characters in all drawn text, also where a widget forgot to."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002 - Textual's signature
        return [
            segment
            if segment.control or sanitize_line(segment.text) is segment.text
            else Segment(sanitize_line(segment.text), segment.style)
            for segment in segments
        ]


_CONTROL_CHARACTER_FILTER = (
    _ControlCharacterFilter()
)  # a single instance, because Textual caches lines by their filters


class RefoldApp(App[None]):
    """The application; owns the session, the fold controller and the main screen."""

    CSS_PATH = "refold.tcss"
    TITLE = "refold"
    ENABLE_COMMAND_PALETTE = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "help_quit", show=False, system=True),
    ]

    def __init__(
        self,
        workspace: Workspace,
        wanted: Sequence[Reference] = (),
        *,
        at: int | None = None,
        place: Address | None = None,
        told: Iterable[str] = (),
    ) -> None:
        """`told` yields messages to show while the screen is open; it may block."""
        super().__init__()
        self._told = told
        self.state = ViewState(query_timeline(workspace))
        self.folds = FoldController(self, self.state, wanted, place.projection if place else None)
        self.main_screen = MainScreen(self.state, self.folds, at, place)

    def on_mount(self) -> None:
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Exit through Textual, so that the terminal is restored.
            with suppress(ValueError, RuntimeError):  # not the main thread's loop
                asyncio.get_running_loop().add_signal_handler(number, self.exit)
        self.push_screen(self.main_screen)
        # A plain thread, because Textual waits for its own workers at exit.
        threading.Thread(target=self._show_messages, daemon=True, name="messages").start()

    def _show_messages(self) -> None:
        for message in self._told:
            with suppress(RuntimeError):  # the screen is closed
                self.call_from_thread(self.main_screen.panes.message.show_message, message)

    def on_unmount(self) -> None:
        self.folds.close()
        self.state.data.workspace.close()

    def get_line_filters(self) -> Sequence[LineFilter]:
        return [*super().get_line_filters(), _CONTROL_CHARACTER_FILTER]

    def get_system_commands(self, screen: Screen[object]) -> Iterable[SystemCommand]:
        yield from super().get_system_commands(screen)
        for command in self.main_screen.available_commands():
            yield SystemCommand(
                f"{command.title[0].upper()}{command.title[1:]} ({command.shown})",
                command.group,
                partial(self.main_screen.run_command, command.id),
            )


def run_app(
    workspace: Workspace,
    wanted: Sequence[Reference] = (),
    *,
    at: int | None = None,
    place: Address | None = None,
    told: Iterable[str] = (),
) -> None:
    """Open the screen and return when the person quits; an address sets what it shows first."""
    RefoldApp(workspace, wanted, at=at, place=place, told=told).run()
