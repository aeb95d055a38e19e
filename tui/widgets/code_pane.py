"""The pane with the code that handled the event; it marks the lines that may have changed a value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tui.text.span import Span
from tui.widgets.line_view import LineView


@dataclass(frozen=True)
class CodeListing:
    """A piece of code with its syntax colours."""

    title: str
    first_line: int
    """The number of its first line in the file."""
    lines: Sequence[Sequence[Span]]


class CodePane(LineView):
    """Shows a listing, or one line of text without one."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title="code")
        self._listing: CodeListing | None = None
        self._text = ""
        self._marked: frozenset[int] = frozenset()

    def show_listing(self, listing: CodeListing) -> None:
        """Show code from its first line."""
        if listing is not self._listing:
            self._show(listing, "", listing.title, len(listing.lines))

    def show_text(self, text: str) -> None:
        """Show a text instead of code."""
        if self._listing is not None or text != self._text:
            self._show(None, text, "code", 1)

    def _show(self, listing: CodeListing | None, text: str, title: str, lines: int) -> None:
        self._listing, self._text, self.title = listing, text, title
        self._marked = frozenset()
        self.line_count = lines
        self.cursor = -1
        self.scroll_to(0, 0, animate=False, force=True)
        self.refresh()

    def mark_lines(self, numbers: frozenset[int], why: str) -> None:
        """Mark lines of the file, with the reason in the subtitle."""
        listing = self._listing
        if listing is None:
            numbers = frozenset()
        else:
            for number in numbers ^ self._marked:
                self.refresh_line(number - listing.first_line)
        self._marked = numbers
        self.subtitle = f"▸ {why}" if numbers else ""
        self._show_marked()

    def on_resize(self) -> None:
        super().on_resize()
        self._show_marked()  # the marks may have come before the first layout

    def _show_marked(self) -> None:
        """Scroll to the first marked line, if it is out of view."""
        if self._listing is not None and self._marked:
            self.scroller.show(min(self._marked) - self._listing.first_line)

    def spans(self, line: int) -> Iterable[Span]:
        listing = self._listing
        if listing is None:
            return [(f"  {self._text}", "muted")]
        number = listing.first_line + line
        width = len(str(listing.first_line + len(listing.lines) - 1))
        marked = number in self._marked
        head = ("▸" if marked else " ", "mark"), (f"{number:>{width}} ", "muted")
        return [*head, *listing.lines[line]]

    def line_style(self, line: int) -> str:
        listing = self._listing
        is_marked = listing is not None and listing.first_line + line in self._marked
        return "changed" if is_marked else ""

    @property
    def content_width(self) -> int:
        if self._listing is None:
            return len(self._text) + 2
        lines = self._listing.lines
        return max((sum(len(text) for text, _ in line) for line in lines), default=0) + 8
