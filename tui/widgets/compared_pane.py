"""The pane that compares the selected document: old and new code, or a fork and its parent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from replay.document.diff import Difference, DifferenceKind, encode_value
from tui.text.sanitize import fit_width, sanitize_line, shorten
from tui.text.span import Span
from tui.widgets.line_view import LineView

_LONGEST = 200
_WIDEST = 28
"""Columns of a path, at most."""


@dataclass(frozen=True)
class ComparedDocument:
    """A document on two sides at a position."""

    key: str
    names: tuple[str, str]
    """The names of the sides."""
    position: int
    label: str
    """The position as shown."""
    differences: Sequence[Difference] = ()
    note: str = "no differences at this event"
    """Shown without differences."""

    def with_differences(self, found: Sequence[Difference]) -> "ComparedDocument":
        """Return the same document with its differences."""
        return replace(self, differences=found)

    def with_note(self, note: str) -> "ComparedDocument":
        """Return the same document with the reason why nothing is compared."""
        return replace(self, note=note)


class ComparedPane(LineView):
    """The values of the selected document that differ between the sides."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title="side by side")
        self._differences: Sequence[Difference] = ()
        self._note = ""

    def show_document(self, document: ComparedDocument) -> None:
        """Show a compared document from its first difference."""
        self._differences, self._note = document.differences, document.note
        self.line_count = max(len(self._differences), 1)
        self.title = f"{shorten(sanitize_line(document.key), 40)}: {' │ '.join(document.names)}"
        self.subtitle = f"at #{document.label}" if document.position >= 0 else "at the start"
        self.scroll_to(0, 0, animate=False, force=True)
        self.refresh()

    def spans(self, line: int) -> Iterable[Span]:
        if line >= len(self._differences):
            yield (f"  {self._note}", "muted")
            return
        found = self._differences[line]
        width = self.scrollable_content_region.width
        names = (cell_len(sanitize_line(d.path_text[:_LONGEST])) for d in self._differences)
        column = min(max(names), _WIDEST, width // 3)
        room = max((width - column - 6) // 2, 6)
        olds = (cell_len(sanitize_line(_value_text(d, old=True)[:room])) for d in self._differences)
        left = min(max(olds), room)
        sign = {
            DifferenceKind.ADDED: "+",
            DifferenceKind.REMOVED: "-",
            DifferenceKind.CHANGED: "~",
        }[found.kind]
        yield (f"{sign} ", found.kind.value)
        yield (f"{fit_width(found.path_text, column)} ", "name")
        yield (fit_width(_value_text(found, old=True), left), "was")
        yield (" │ ", "muted")
        yield (shorten(_value_text(found, old=False), room), "")


def _value_text(found: Difference, *, old: bool) -> str:
    absent = DifferenceKind.ADDED if old else DifferenceKind.REMOVED
    return "–" if found.kind is absent else encode_value(found.before if old else found.after)
