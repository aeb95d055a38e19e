"""The tree of timelines: which there are; Enter opens one."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from storage.plural import counted
from storage.timelines.store import Timeline
from storage.workspace.workspace import MAIN
from tui.text.sanitize import printable, shortened


class TimelinesScreen(ModalScreen[tuple[str, str] | None]):
    """Gives back what is to be done (`open`, `remove`, `join`) with which timeline."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,T,shift+t", "dismiss(None)", "close", show=False),
        Binding("delete,x", "chosen('remove')", "remove"),
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
        Binding("J,shift+j", "chosen('join')", "join"),
    ]

    def __init__(self, forks: Sequence[Timeline], here: str) -> None:
        super().__init__()
        self._forks = forks
        self._here = here

    def compose(self) -> ComposeResult:
        with Vertical(id="timelines"):
            yield OptionList(id="timelines-list")

    def on_mount(self) -> None:
        box = self.query_one("#timelines")
        box.border_title = "timelines"
        box.border_subtitle = "enter opens · J joins with this one · x removes · esc closes"
        shown = self.query_one(OptionList)
        depths = {MAIN: 0}
        shown.add_option(Option(self._line(MAIN, 0, "the log itself"), id=MAIN))
        for fork in self._forks:
            depths[fork.name] = depths[fork.parent] + 1
            said = f"at {fork.at} · {counted(len(fork.active), 'edit')}"
            said += f" · {shortened(printable(fork.note), 60)}" if fork.note else ""
            shown.add_option(Option(self._line(fork.name, depths[fork.name], said), id=fork.name))
        shown.highlighted = next((n for n, o in enumerate(shown.options) if o.id == self._here), 0)

    def _line(self, name: str, depth: int, said: str) -> Content:
        mark = "▸ " if name == self._here else "  "
        branch = "  " * (depth - 1) + "└ " if depth else ""
        return Content.assemble(
            (mark, "bold $text-accent"),
            (branch, "$text-muted"),
            (f"{printable(name)}  ", "bold" if name == self._here else ""),
            (said, "$text-muted"),
        )

    def action_move(self, by: int) -> None:
        shown = self.query_one(OptionList)
        shown.highlighted = max(0, min((shown.highlighted or 0) + by, shown.option_count - 1))

    def action_chosen(self, what: str) -> None:
        shown = self.query_one(OptionList)
        if shown.highlighted is not None:
            name = shown.get_option_at_index(shown.highlighted).id or MAIN
            self.dismiss((what, name))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(("open", event.option.id or MAIN))
