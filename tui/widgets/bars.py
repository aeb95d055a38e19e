"""The lines around the panes: where one is (header), when one is (position), prompt and message."""

from typing import ClassVar

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input, Static

from storage.log.positions import START
from tui.state.snapshot import Snapshot
from tui.text.sanitize import fit_width, sanitize_line, shorten
from tui.text.timestamps import format_full_time

_GLANCE_SECONDS = 2.0
_READ_A_SECOND = 25
"""Characters."""


class Header(Static):
    """What is open: workspace, timeline, projection; and how far it is folded."""

    def show_path(self, place: list[str], state: str, *, trouble: bool = False) -> None:
        """Show a path and, at the right end, a state."""
        path = " › ".join(sanitize_line(part) for part in place)
        width = max(self.size.width, 20)
        state = shorten(sanitize_line(state), max(width - 20, 10))
        room = width - len(" refold  ") - len(state) - 2
        line = Content.assemble(
            (" refold ", "bold $text-accent"),
            (f" {fit_width(path, max(room, 8))}", ""),
            (f"{state} ", "$error" if trouble else "$text-muted"),
        )
        self.update(line, layout=False)


class WhatIfLine(Static):
    """Says, for as long as it is so, that what is shown has never happened."""

    def show_text(self, said: str) -> None:
        """Show it; empty: it has happened."""
        self.display = bool(said)
        line = shorten(sanitize_line(said), max(self.app.size.width - 14, 20))
        self.update(Content.assemble((" WHAT IF ", "bold reverse"), (f"  {line}", "")))


class PositionLine(Static):
    """The event that time stands after."""

    def show_snapshot(self, snapshot: Snapshot, events: int) -> None:
        """Say where and when."""
        if snapshot.position == START:
            line = Content.assemble((" start ", "bold"), (f"of {events:,} events", ""))
            self.update(line, layout=False)
            return
        parts = [(f" #{snapshot.label}", "bold"), (f" of {events:,}", "")]
        if snapshot.base is not None:
            parts.append((f"  base #{snapshot.base_label}", "bold $text-warning"))
        if snapshot.failures:
            parts.append(("  ✗ failed", "bold $text-error"))
        event = snapshot.event
        if event is None:
            parts.append(("  ·  dropped", "bold $text-warning"))
        else:
            if event.time is not None:
                parts.append((f"  ·  {format_full_time(event.time)}", ""))
            if event.stream is not None:
                place = f" @{event.revision}" if event.revision is not None else ""
                parts.append((f"  ·  {shorten(sanitize_line(event.stream[:80]), 60)}{place}", ""))
            parts.append((f"  ·  {shorten(sanitize_line((event.type or '–')[:80]), 60)}", "bold"))
        if len(snapshot.changed_keys) > 1:
            parts.append((f"  ·  {len(snapshot.changed_keys)} documents", ""))
        if sum(cell_len(text) for text, _ in parts) > self.size.width:
            del parts[1]  # how many there are is what is missed least
        room = max(self.size.width, 20)
        for number, (text, style) in enumerate(parts):
            parts[number] = (shorten(text, room), style) if room > 6 else ("", style)
            room -= cell_len(text)
        self.update(Content.assemble(*parts), layout=False)


class MessageLine(Static):
    """What was done, or what is wrong with what was typed, where it was typed; it covers no pane."""

    _clock: Timer | None = None

    def on_mount(self) -> None:
        self.display = False

    def show_message(self, message: str, *, trouble: bool = False) -> None:
        """Show it as long as it takes to read, or until the next."""
        if self._clock is not None:
            self._clock.stop()
        self.set_class(trouble, "-trouble")
        self.update(Content(f" {sanitize_line(message)}"))
        self.display = True
        seconds = _GLANCE_SECONDS + len(message) / _READ_A_SECOND
        self._clock = self.set_timer(seconds * (2 if trouble else 1), self.on_click)

    def on_click(self) -> None:
        """It has been read."""
        self.display = False

    def clear_error(self) -> None:
        """What was wrong is so no longer: something else was asked, or found."""
        if self.has_class("-trouble"):
            self.display = False


class Prompt(Static):
    """One line for typing; Esc closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", show=False)]

    class Entered(Message):
        """A person typed something and pressed Enter."""

        def __init__(self, purpose: str, text: str) -> None:
            super().__init__()
            self.purpose = purpose
            self.text = text

    class Closed(Message):
        """The prompt is gone."""

    purpose = ""
    _opening = False
    """It is there, and what was typed into before may still lose the focus."""

    def compose(self) -> ComposeResult:
        yield Static(id="prompt-label")
        yield Input(compact=True, id="prompt-input")

    def open(self, purpose: str, label: str, hint: str, value: str = "") -> None:
        """Open it."""
        self.purpose = purpose
        self.query_one("#prompt-label", Static).update(Content.assemble((f" {label} ", "bold")))
        field = self.query_one(Input)
        field.placeholder = hint
        field.value = value
        self._opening = not self.display
        self.display = True
        field.focus()

    def on_descendant_focus(self) -> None:
        self._opening = False

    def on_descendant_blur(self) -> None:
        # A person went elsewhere, with Tab or the mouse.
        if self.app.app_focus and not self._opening:
            self.display = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.display = False
        self.post_message(self.Entered(self.purpose, event.value.strip()))

    def action_close(self) -> None:
        self.display = False
        self.post_message(self.Closed())
