"""The tree of timelines; Enter opens one."""

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from storage.coordinates.event_labels import format_label
from storage.plural import format_count
from storage.timelines.fork_store import Fork
from storage.workspace.workspace import MAIN_TIMELINE
from tui.text.sanitize import sanitize_line, shorten


class TimelinesScreen(ModalScreen[tuple[str, str] | None]):
    """The tree; returns an action (`open`, `remove`, `join`) and a timeline, or None."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,T,shift+t", "dismiss(None)", "close", show=False),
        Binding("delete,x", "chosen('remove')", "remove"),
        Binding("j,down", "move(1)", show=False),
        Binding("k,up", "move(-1)", show=False),
        Binding("J,shift+j", "chosen('join')", "merge"),
    ]

    def __init__(self, forks: Sequence[Fork], here: str) -> None:
        super().__init__()
        self._forks = forks
        self._here = here

    def compose(self) -> ComposeResult:
        with Vertical(id="timelines"):
            yield OptionList(id="timelines-list")

    def on_mount(self) -> None:
        box = self.query_one("#timelines")
        box.border_title = "timelines"
        box.border_subtitle = "enter open · J merge with current · x remove · esc close"
        shown = self.query_one(OptionList)
        depths = {MAIN_TIMELINE: 0}
        shown.add_option(
            Option(self._timeline_line(MAIN_TIMELINE, 0, "the log itself"), id=MAIN_TIMELINE)
        )
        for fork in self._forks:
            depths[fork.name] = depths[fork.parent] + 1
            said = f"at {format_label(fork.at)} · {format_count(len(fork.active_edits), 'edit')}"
            said += f" · {shorten(sanitize_line(fork.note), 60)}" if fork.note else ""
            shown.add_option(
                Option(self._timeline_line(fork.name, depths[fork.name], said), id=fork.name)
            )
        shown.highlighted = next((n for n, o in enumerate(shown.options) if o.id == self._here), 0)

    def _timeline_line(self, name: str, depth: int, said: str) -> Content:
        mark = "▸ " if name == self._here else "  "
        branch = "  " * (depth - 1) + "└ " if depth else ""
        return Content.assemble(
            (mark, "bold $text-accent"),
            (branch, "$text-muted"),
            (f"{sanitize_line(name)}  ", "bold" if name == self._here else ""),
            (said, "$text-muted"),
        )

    def action_move(self, by: int) -> None:
        shown = self.query_one(OptionList)
        shown.highlighted = max(0, min((shown.highlighted or 0) + by, shown.option_count - 1))

    def action_chosen(self, what: str) -> None:
        shown = self.query_one(OptionList)
        if shown.highlighted is not None:
            name = shown.get_option_at_index(shown.highlighted).id or MAIN_TIMELINE
            self.dismiss((what, name))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(("open", event.option.id or MAIN_TIMELINE))
