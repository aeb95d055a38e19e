"""The SQL editor: Enter runs the query, a list below the cursor suggests completions.

Tab inserts a suggestion, and so does Enter if one is selected in the list.
"""

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.geometry import Offset
from textual.message import Message
from textual.widgets import OptionList, TextArea
from textual.widgets.option_list import Option

from storage.query.completion import Completion, Suggestion, complete_query
from tui.text.sanitize import sanitize_line, shorten

_SHOWN = 8
_WIDEST = 28


class CompletionList(OptionList, can_focus=False):
    """The list of suggested completions."""

    words: tuple[Suggestion, ...] = ()

    def show_words(self, words: tuple[Suggestion, ...], place: Offset) -> None:
        """Show suggestions at a screen position."""
        self.words = words
        names = [shorten(sanitize_line(word.text), _WIDEST) for word in words]
        room = max(map(len, names))
        self.clear_options()
        self.add_options(
            Option(
                Content.assemble(
                    (f"{name:<{room}}", "bold"),
                    (f"  {sanitize_line(word.detail or word.kind)}", "$text-muted"),
                )
            )
            for name, word in zip(names, words, strict=True)
        )
        widest = max(len(word.detail or word.kind) for word in words)
        self.styles.width = room + widest + 5
        self.styles.height = min(len(words), _SHOWN)
        self.absolute_offset = place
        self.highlighted = None
        self.display = True

    @property
    def selected_word(self) -> Suggestion | None:
        """The suggestion under the cursor, if any."""
        return None if self.highlighted is None else self.words[self.highlighted]


class QueryEditor(TextArea):
    """An editor for several lines of SQL."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,f5", "ask", "run", key_display="enter", id="sql.run"),
        Binding("ctrl+j,alt+enter,shift+enter", "new_line", "new line", key_display="ctrl+j"),
        Binding("up", "recall(-1)", "previous query", key_display="↑"),
        Binding("down", "recall(1)", "next query", show=False),
    ]

    class QueryEntered(Message):
        """The query must be run."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    class QueryRecalled(Message):
        """The user asked for the previous query (-1) or the next one (1)."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    projections: Sequence[str] = ()
    """Projection names to suggest."""

    def __init__(self, text: str, offers: CompletionList, *, hint: str, id: str) -> None:  # noqa: A002 - Textual's name
        super().__init__(
            text,
            id=id,
            compact=False,
            highlight_cursor_line=False,
            placeholder=hint,
        )
        self._offers = offers
        self._completion: Completion | None = None
        self._silent = text

    def replace_query(self, text: str) -> None:
        """Replace the text by another query, without suggesting completions."""
        self._silent = text
        self.text = text
        self.move_cursor(self.document.end)

    def action_ask(self) -> None:
        self.close_completions()
        self.post_message(self.QueryEntered(self.text.strip()))

    def action_new_line(self) -> None:
        self.close_completions()
        self._replace_via_keyboard("\n", *self.selection)

    def action_recall(self, by: int) -> None:
        self.post_message(self.QueryRecalled(by))

    async def _on_key(self, event: events.Key) -> None:
        if self._handle_key(event.key):
            event.stop()
            event.prevent_default()
            return
        await super()._on_key(event)

    def _handle_key(self, key: str) -> bool:
        """Handle a key of the suggestions, of the query history, or Enter; return whether it was one."""
        if self._offers.display:
            if key == "escape":
                self.close_completions()
            elif key in ("down", "up"):
                self._offers.action_cursor_down() if key == "down" else self._offers.action_cursor_up()
            elif key == "tab" or (key == "enter" and self._offers.selected_word is not None):
                self._insert_word(self._offers.selected_word or self._offers.words[0])
            elif key == "enter":
                self.action_ask()
            else:
                return False
            return True
        if key == "enter":
            self.action_ask()
        elif (key == "up" and self.cursor_at_first_line) or (
            key == "down" and self.cursor_at_last_line
        ):
            self.action_recall(-1 if key == "up" else 1)
        else:
            return False
        return True

    def on_text_area_changed(self) -> None:
        if self.text == self._silent or not self.has_focus:
            self.close_completions()
            return
        self._silent = ""
        self._completion = complete_query(self.text, self._typed_length(), self.projections)
        if self._completion is None:
            self.close_completions()
            return
        typed = self._typed_length() - self._completion.start
        self.call_after_refresh(self._show_completions, self._completion, typed)

    def _show_completions(self, completion: Completion, typed: int) -> None:
        if completion is self._completion:
            # Below the text, aligned with the start of the typed word.
            at = self.cursor_screen_offset - Offset(typed + 1, -1)
            self._offers.show_words(completion.suggestions, at)

    def on_blur(self) -> None:
        self.close_completions()

    def close_completions(self) -> None:
        """Hide the suggestions until the text changes."""
        self._completion = None
        self._offers.display = False

    def _insert_word(self, word: Suggestion) -> None:
        if self._completion is not None:
            row, column = self.cursor_location
            typed = self._typed_length() - self._completion.start
            self._silent = ""
            self.replace(word.text, (row, column - typed), (row, column))
            self.move_cursor((row, column - typed + len(word.text)))

    def _typed_length(self) -> int:
        """Return the number of characters before the cursor."""
        return len(self.get_text_range((0, 0), self.cursor_location))
