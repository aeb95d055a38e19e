"""The form of a sweep: what is varied, and what is asked of each fork."""

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
    "path": ("path in them", "amount: the value that is varied; empty: each event is dropped"),
    "values": ("values of it", "5, 10, 20, or 5 to 25 by 5"),
    "asked": ("ask of each", "sum(state.total), count(*)"),
}


class SweepForm(ModalScreen[SweepSpec | None]):
    """Gives back what was wished for."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "leave", priority=True),
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
        box.border_title = "sweep: a fork each"
        box.border_subtitle = "enter sweeps · tab next field · esc leaves"
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
        where = f"all events where {wish.events}" if wish.events else f"the event at {self._here}"
        told = f"A fork for each value of {wish.path}, in {where}."
        if not wish.path:
            told = f"A fork for each of {where}, without it."
        said.update(Content(sanitize_line(wrong or told)))
