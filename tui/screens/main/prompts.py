"""The prompt: opens for a purpose, and hands the entered text to the controller of that purpose."""

from collections.abc import Callable
from typing import Any, Protocol

from tui.results.prompt_queries import PROMPTS
from tui.screens.main.ports import Focusable, Notifier, PromptInput


class PromptLine(Protocol):
    """The prompt widget."""

    def open(self, purpose: str, label: str, hint: str, value: str = "") -> None: ...


class PromptController:
    """Opens the prompt, and knows who handles what is entered."""

    def __init__(
        self,
        line: PromptLine,
        events: Focusable,
        notifier: Notifier,
        call_after_refresh: Callable[..., Any],
    ) -> None:
        self._line = line
        self._events = events
        self._notifier = notifier
        self._call_after_refresh = call_after_refresh
        self._handlers: dict[str, Callable[[str], object]] = {}
        self._takes_empty: set[str] = set()

    def answer_with(
        self, purpose: str, handler: Callable[[str], object], *, takes_empty: bool = False
    ) -> None:
        """Call a handler with the text entered for a purpose."""
        self._handlers[purpose] = handler
        if takes_empty:
            self._takes_empty.add(purpose)

    def open(self, purpose: str, value: str = "") -> None:
        """Open the prompt of a purpose, see `PROMPTS`."""
        self._line.open(purpose, *PROMPTS[purpose], value)

    def open_later(self, purpose: str, value: str = "") -> None:
        """Open the prompt after the one that is still closing."""
        self._call_after_refresh(self.open, purpose, value)

    def enter(self, purpose: str, text: str) -> None:
        """Hand on a text that was entered."""
        self._events.focus()
        if text or purpose in self._takes_empty:
            self._handlers[purpose](text)

    def close(self) -> None:
        """Leave the prompt without a text."""
        self._notifier.clear_error()
        self._events.focus()

    def correct(self, message: str, typed: PromptInput | None) -> None:
        """Show an error, and open the prompt again with the text that caused it."""
        self._notifier.show_error(message)
        if typed is not None and self._events.has_focus:
            self.open(*typed)
