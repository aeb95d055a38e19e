"""What controllers need of the screen, as small protocols; a test gives plain objects instead."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

from replay.document.paths import DocumentPath

Outcome = TypeVar("Outcome")


class Notifier(Protocol):
    """The message line."""

    def show_message(self, message: str) -> None:
        """Show a confirmation."""

    def show_error(self, message: str) -> None:
        """Show an error."""

    def clear_error(self) -> None:
        """Hide an error, because another command has succeeded."""


class PromptInput(NamedTuple):
    """A text typed at a prompt, to be corrected if it is wrong."""

    purpose: str
    text: str


class Prompts(Protocol):
    """The prompt below the panes."""

    def open(self, purpose: str, value: str = "") -> None:
        """Open the prompt of a purpose, see `PROMPTS`."""

    def open_later(self, purpose: str, value: str = "") -> None:
        """Open the prompt after the one that is still closing."""

    def correct(self, message: str, typed: PromptInput | None) -> None:
        """Show an error, and open the prompt again with the text that caused it."""

    def answer_with(
        self, purpose: str, handler: Callable[[str], object], *, takes_empty: bool = False
    ) -> None:
        """Call a handler with the text entered for a purpose."""


class ScreenOpener(Protocol):
    """Opens screens over the main screen."""

    def push_screen(
        self, screen: Any, callback: Callable[[Any], object] | None = None
    ) -> object: ...


class Timer(Protocol):
    """A timer that was started."""

    def stop(self) -> None: ...


class Scheduler(Protocol):
    """Calls functions later on the screen's thread."""

    def call_later(self, callback: Callable[..., Any], *values: Any) -> object:
        """Call a function after the pending messages."""

    def set_timer(self, delay: float, callback: Callable[[], Any]) -> Timer:
        """Call a function after some seconds."""


class Clipboard(Protocol):
    """The terminal's clipboard."""

    def copy_to_clipboard(self, text: str) -> None: ...


class PathCursor(Protocol):
    """The document pane, as far as its cursor is concerned."""

    @property
    def path(self) -> DocumentPath:
        """The path of the value under the cursor; empty without a cursor."""

    def point_at(self, path: DocumentPath) -> None:
        """Put the cursor on this value when the next snapshot comes."""


class Focusable(Protocol):
    """A pane that can get the focus."""

    @property
    def has_focus(self) -> bool: ...

    def focus(self) -> object: ...
