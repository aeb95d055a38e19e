"""One row of an SQL result in full: a line per column, with JSON shown as a tree."""

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import Footer

from replay.document.diff import decode_or_text, encode_value
from storage.query.sql_query import ResultColumn
from tui.widgets.value_lines import value_lines
from tui.widgets.value_view import ValueView


class RowView(ValueView):
    """The columns of one row."""

    def __init__(self, row: dict[str, Any], title: str) -> None:
        super().__init__(id="row", title=title)
        self._row = row

    def redraw(self) -> None:
        self.show_lines(value_lines(self._row, (), self.expansion))


class RowScreen(ModalScreen[None]):
    """The screen that shows one row over the result."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss(None)", "back", key_display="esc"),
        Binding("y", "copy", "copy"),
    ]

    def __init__(self, row: dict[str, Any], title: str) -> None:
        super().__init__()
        self._row = row
        self._title = title

    def compose(self) -> ComposeResult:
        yield RowView(self._row, self._title)
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        self.query_one(RowView).redraw()
        self.query_one(RowView).move_cursor(0)

    def action_copy(self) -> None:
        self.app.copy_to_clipboard(encode_value(self._row))


def row_as_dict(columns: tuple[ResultColumn, ...], row: tuple[str | None, ...]) -> dict[str, Any]:
    """Return the row's values by column name; a repeated name gets the column's number."""
    found: dict[str, Any] = {}
    for number, (column, text) in enumerate(zip(columns, row, strict=True), start=1):
        name = column.name if column.name not in found else f"{column.name} ({number})"
        found[name] = _column_value(column, text)
    return found


def _column_value(column: ResultColumn, text: str | None) -> Any:
    if text is None:
        return None
    plain = column.is_number or column.type == "BOOLEAN"
    return decode_or_text(text) if plain or text[:1] in ("{", "[") else text
