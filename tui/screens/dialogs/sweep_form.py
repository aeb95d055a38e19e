"""The form of a sweep: which value varies, and which aggregates are computed for each fork."""

from dataclasses import fields
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from storage.errors import QueryError
from tui.results.sweep_table import SweepSpec
from tui.text.sanitize import sanitize_line

_FIELDS = {
    "events": ("events", "type = 'RefundIssued'; empty: the event at {here}"),
    "path": ("field", "amount; empty: drop each event instead"),
    "values": ("values", "5, 10, 20, or 5 to 25 by 5"),
    "expressions": ("compute", "sum(state.total), count(*)"),
}


class SweepForm(ModalScreen[SweepSpec | None]):
    """The form; returns the sweep to run, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "cancel", priority=True),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
    ]

    def __init__(self, wish: SweepSpec, here: str) -> None:
        super().__init__()
        self._wish = wish
        self._here = here

    def compose(self) -> ComposeResult:
        with Vertical(id="sweep"):
            for name, (label, hint) in _FIELDS.items():
                yield Label(label)
                yield Input(
                    getattr(self._wish, name),
                    placeholder=hint.format(here=self._here),
                    compact=True,
                    id=f"sweep-{name}",
                )
            yield Static(id="sweep-said")

    def on_mount(self) -> None:
        box = self.query_one("#sweep")
        box.border_title = "sweep: one fork per value"
        box.border_subtitle = "enter run · tab next field · esc cancel"
        self._show_error("")

    def on_input_changed(self) -> None:
        self._show_error("")

    def on_input_submitted(self) -> None:
        wish = self._spec()
        try:
            wish.validate()
        except QueryError as error:
            self._show_error(error.message)
        else:
            self.dismiss(wish)

    def _spec(self) -> SweepSpec:
        typed = (self.query_one(f"#sweep-{one.name}", Input).value for one in fields(SweepSpec))
        return SweepSpec(*(text.strip() for text in typed))

    def _show_error(self, wrong: str) -> None:
        said = self.query_one("#sweep-said", Static)
        said.set_class(bool(wrong), "-trouble")
        wish = self._spec()
        events = f"events where {wish.events}" if wish.events else f"event {self._here}"
        if wish.path:
            summary = f"1 fork per value of {wish.path} in {events}"
        elif wish.events:
            summary = f"1 fork per event, that event dropped: {events}"
        else:
            summary = f"1 fork: {events} dropped"
        said.update(Content(sanitize_line(wrong or summary)))
