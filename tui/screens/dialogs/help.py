"""Help: the keys that work now, searchable; Enter runs the selected command."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from tui.commands import COMMANDS, Command

_MOVEMENT_HELP = (
    ("↑ ↓ h j k l", "move in a pane; also PgUp, PgDn, Home, End"),
    ("tab shift+tab", "next pane, previous pane"),
    ("enter", "in a document: collapse or expand a part"),
    ("50]  12}", "type a number first to repeat a command"),
    ("mouse", "click an event, document or value; click or drag the strip"),
    ("ctrl+p", "command palette, with themes"),
)


class HelpScreen(ModalScreen[str | None]):
    """The help; returns the id of the chosen command, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark", "dismiss(None)", "close", show=False),
        Binding("down", "to_list", show=False),
        Binding("pagedown", "page('down')", show=False),
        Binding("pageup", "page('up')", show=False),
    ]

    def __init__(self, possible: list[Command]) -> None:
        super().__init__()
        self._possible = possible

    def compose(self) -> ComposeResult:
        with Vertical(id="help"):
            yield Input(placeholder="search keys and commands", compact=True)
            yield OptionList(id="help-list")

    def on_mount(self) -> None:
        self.query_one("#help").border_title = "Keys"
        self.query_one("#help").border_subtitle = "type to search · enter run · esc close"
        self._show_commands("")

    def _show_commands(self, wanted: str) -> None:
        shown = self.query_one(OptionList)
        shown.clear_options()
        group = ""
        for command in COMMANDS:
            if command not in self._possible or wanted.lower() not in _search_text(command):
                continue
            if command.group != group:
                group = command.group
                shown.add_option(
                    Option(Content.assemble((group, "bold $text-accent")), disabled=True)
                )
            line = Content.assemble((f"  {command.shown:<14}", "bold"), (command.title, ""))
            shown.add_option(Option(line, id=command.id))
        if not wanted:
            shown.add_option(
                Option(Content.assemble(("moving", "bold $text-accent")), disabled=True)
            )
            for keys, what in _MOVEMENT_HELP:
                line = Content.assemble((f"  {keys:<14}", "bold"), (what, "$text-muted"))
                shown.add_option(Option(line, disabled=True))
        shown.highlighted = next(
            (i for i in range(shown.option_count) if not shown.get_option_at_index(i).disabled),
            None,
        )

    def on_input_changed(self, event: Input.Changed) -> None:
        self._show_commands(event.value.strip())

    def on_input_submitted(self) -> None:
        shown = self.query_one(OptionList)
        if shown.highlighted is not None:
            self.dismiss(shown.get_option_at_index(shown.highlighted).id)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    async def action_page(self, way: str) -> None:
        """Scroll the list by a page, also while the search field has the focus."""
        await self.query_one(OptionList).run_action(f"page_{way}")

    def action_to_list(self) -> None:
        self.query_one(OptionList).focus()


def _search_text(command: Command) -> str:
    return f"{command.shown} {command.title} {command.group} {command.id}".lower()
