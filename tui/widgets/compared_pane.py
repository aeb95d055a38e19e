"""The pane that compares the selected document: old and new code, or a fork and its parent."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

from rich.cells import cell_len
from textual.worker import get_current_worker

from replay.document.diff import Difference, DifferenceKind, encode_value
from storage.errors import RefoldError, summarize_error
from tui.text.sanitize import fit_width, sanitize_line, shorten
from tui.text.span import Span
from tui.widgets.line_view import LineView


class DocumentComparison(Protocol):
    """A comparison of documents between two sides."""

    @property
    def names(self) -> tuple[str, str]:
        """The names of the two sides."""

    @property
    def differing_documents(self) -> int:
        """The number of documents that differ."""

    @property
    def end_offset(self) -> int:
        """The number of events that are folded on both sides."""

    def differences(self, key: str, position: int) -> list[Difference]:
        """Return the differences of a document at a position."""


_LONGEST = 200
_WIDEST = 28
"""Columns of a path, at most."""


class ComparedPane(LineView):
    """The values of the selected document that differ between the sides."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title="side by side")
        self._differences: Sequence[Difference] = ()
        self._said = ""

    def show_document(
        self, edit: DocumentComparison | None, key: str | None, position: int, label: str
    ) -> None:
        """Compare the document at a position, in a thread."""
        if edit is None or key is None or not edit.differing_documents:
            return
        if position >= edit.end_offset:
            self._show_differences(
                edit, key, position, label, (), "not folded up to this event yet"
            )
            return
        ask = partial(self._query_differences, edit, key, position, label)
        self.run_worker(ask, thread=True, exclusive=True, group="compared", exit_on_error=False)

    def _query_differences(
        self, edit: DocumentComparison, key: str, position: int, label: str
    ) -> None:
        found: Sequence[Difference] = ()
        said = "no differences at this event"
        try:
            found = edit.differences(key, position)
        except RefoldError as error:
            said = error.message
        except Exception as error:  # noqa: BLE001 - a query that failed must not end the screen
            said = f"The comparison failed: {summarize_error(error)}"
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(
                self._show_differences, edit, key, position, label, found, said
            )

    def _show_differences(
        self,
        edit: DocumentComparison,
        key: str,
        position: int,
        label: str,
        found: Sequence[Difference],
        said: str,
    ) -> None:
        self._differences, self._said = found, said
        self.line_count = max(len(found), 1)
        self.title = f"{shorten(sanitize_line(key), 40)}: {' │ '.join(edit.names)}"
        self.subtitle = f"at #{label}" if position >= 0 else "at the start"
        self.scroll_to(0, 0, animate=False, force=True)
        self.refresh()

    def spans(self, line: int) -> Iterable[Span]:
        if line >= len(self._differences):
            yield (f"  {self._said}", "muted")
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
