"""The editor for one event: JSON that is validated before it is saved; ctrl+o opens $EDITOR."""

import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual.app import ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from replay.worker_host.sigint import sigint_ignored
from storage.errors import RefoldError
from tui.text.sanitize import escape_json, sanitize_line

_MAX_TEXT_BYTES = 1 << 20
"""Characters of the text that the editor accepts; more is cut off."""


class EditorScreen(ModalScreen[str | None]):
    """The editor; returns the saved text, or None if the person cancelled."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "take", "save", priority=True),
        Binding("ctrl+o", "own_editor", "$EDITOR", priority=True),
        Binding("escape", "dismiss(None)", "cancel", priority=True),
    ]

    def __init__(self, title: str, text: str, check: Callable[[str], object]) -> None:
        """`check` raises a `RefoldError` if a text is not valid."""
        super().__init__()
        self._title = title
        self._text = text[:_MAX_TEXT_BYTES]
        self._check = check

    def compose(self) -> ComposeResult:
        with Vertical(id="editor"):
            yield TextArea(escape_json(self._text), id="editor-text", soft_wrap=True)
            yield Static(id="editor-said")

    def on_mount(self) -> None:
        box = self.query_one("#editor")
        box.border_title = sanitize_line(self._title)
        box.border_subtitle = "ctrl+s save · ctrl+o open in $EDITOR · esc cancel"
        self._show_status("")

    def on_text_area_changed(self) -> None:
        self._show_status(self._validation_error())

    def action_take(self) -> None:
        wrong = self._validation_error()
        self._show_status(wrong)
        if not wrong:
            self.dismiss(self.query_one(TextArea).text)

    def action_own_editor(self) -> None:
        """Suspend the screen and edit the text in $VISUAL, $EDITOR or vi."""
        command = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
        area = self.query_one(TextArea)
        with tempfile.TemporaryDirectory(prefix="refold-") as folder:
            file = Path(folder) / "event.json"
            file.write_text(area.text, encoding="utf-8")
            try:
                with self.app.suspend(), sigint_ignored():
                    subprocess.run([*command, str(file)], check=False)
            except SuspendNotSupported:
                self._show_status("This terminal can't run another editor.")
                return
            except OSError as error:
                self._show_status(f"{command[0]} can't be started: {error.strerror}.")
                return
            area.text = escape_json(file.read_text(encoding="utf-8", errors="replace"))

    def _validation_error(self) -> str:
        """Return why the text is not valid; empty if it is."""
        try:
            self._check(self.query_one(TextArea).text)
        except RefoldError as error:
            return error.message
        return ""

    def _show_status(self, wrong: str) -> None:
        said = self.query_one("#editor-said", Static)
        said.set_class(bool(wrong), "-trouble")
        said.update(Content(sanitize_line(wrong) if wrong else "Valid JSON."))
