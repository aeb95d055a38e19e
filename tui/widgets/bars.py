"""The lines around the panes: header, what-if banner, position, message and prompt."""

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
"""Seconds that a message stays in any case."""
_READ_A_SECOND = 25
"""Characters that a person reads per second."""


class Header(Static):
    """The header: workspace, timeline, projection, and how far it is folded."""

    def show_path(self, place: list[str], state: str, *, trouble: bool = False) -> None:
        """Show a path at the left and a state at the right end."""
        path = " › ".join(sanitize_line(part) for part in place)
        width = max(self.size.width, 20)
        state = shorten(sanitize_line(state), max(width - 20, 10))
        room = width - len(" refold  ") - len(state) - 2
        fitted = fit_width(path, max(room, 8))
        if not fitted.endswith(" "):
            fitted += " "  # the line has one column to spare
        line = Content.assemble(
            (" refold ", "bold $text-accent"),
            (f" {fitted}", ""),
            (f"{state} ", "$error" if trouble else "$text-muted"),
        )
        self.update(line, layout=False)


class WhatIfLine(Static):
    """The banner shown while the timeline is a fork, that is, hypothetical."""

    def show_text(self, text: str) -> None:
        """Show the banner; an empty text hides it."""
        self.display = bool(text)
        line = shorten(sanitize_line(text), max(self.app.size.width - 14, 20))
        self.update(Content.assemble((" WHAT IF ", "bold reverse"), (f"  {line}", "")))


class PositionLine(Static):
    """The line that describes the event at the position."""

    def show_snapshot(self, snapshot: Snapshot, events: int) -> None:
        """Show offset, time, stream and type of the snapshot's event."""
        if snapshot.position == START:
            line = Content.assemble((" start ", "bold"), (f"of {events:,} events", ""))
            self.update(line, layout=False)
            return
        parts = [(f" #{snapshot.label}", "bold"), (f" of {events:,}", "")]
        if snapshot.base is not None:
            parts.append((f"  base #{snapshot.base_label}", "bold $text-warning"))
        if snapshot.failures:
            parts.append(("  ✗ handler error", "bold $text-error"))
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
            del parts[1]  # the number of events is the part that matters least
        room = max(self.size.width, 20)
        for number, (text, style) in enumerate(parts):
            parts[number] = (shorten(text, room), style) if room > 6 else ("", style)
            room -= cell_len(text)
        self.update(Content.assemble(*parts), layout=False)


class MessageLine(Static):
    """The line above the prompt for confirmations and errors; it covers no pane."""

    _clock: Timer | None = None

    def on_mount(self) -> None:
        self.display = False

    def show_message(self, message: str, *, trouble: bool = False) -> None:
        """Show a message for as long as it takes to read it; an error twice as long."""
        if self._clock is not None:
            self._clock.stop()
        self.set_class(trouble, "-trouble")
        self.update(Content(f" {sanitize_line(message)}"))
        self.display = True
        seconds = _GLANCE_SECONDS + len(message) / _READ_A_SECOND
        self._clock = self.set_timer(seconds * (2 if trouble else 1), self.on_click)

    def show_error(self, message: str) -> None:
        """Show an error."""
        self.show_message(message, trouble=True)

    def on_click(self) -> None:
        """Hide the message, on a click or when its time is over."""
        self.display = False

    def clear_error(self) -> None:
        """Hide an error, because another command has succeeded."""
        if self.has_class("-trouble"):
            self.display = False


class Prompt(Static):
    """One line for typing; Esc closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "close", show=False)]

    class Entered(Message):
        """The text was entered with Enter."""

        def __init__(self, purpose: str, text: str) -> None:
            super().__init__()
            self.purpose = purpose
            self.text = text

    class Closed(Message):
        """The prompt was closed with Esc."""

    purpose = ""
    _opening = False
    """The prompt is opening: the field that had the focus may still report that it lost it."""

    def compose(self) -> ComposeResult:
        yield Static(id="prompt-label")
        yield Input(compact=True, id="prompt-input")

    def open(self, purpose: str, label: str, hint: str, value: str = "") -> None:
        """Open the prompt for a purpose, with a label, a placeholder and an initial value."""
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
        # The person left the prompt with Tab or the mouse.
        if self.app.app_focus and not self._opening:
            self.display = False

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self.display = False
        self.post_message(self.Entered(self.purpose, event.value.strip()))

    def action_close(self) -> None:
        self.display = False
        self.post_message(self.Closed())
