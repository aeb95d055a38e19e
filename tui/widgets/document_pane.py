"""The pane with the selected document at the position, and what the event changed in it."""

from replay.document.diff import encode_value
from replay.document.paths import ABSENT, DocumentPath
from storage.plural import format_count
from tui.state.snapshot import LateDetails, Snapshot
from tui.widgets.value_lines import (
    ExpansionState,
    ValueLine,
    find_first_change,
    find_path_line,
    value_lines,
)
from tui.widgets.value_view import ValueView


class DocumentPane(ValueView):
    """Shows one document."""

    _snapshot: Snapshot | None = None
    _said = ""
    _pointed: DocumentPath | None = None

    def show_snapshot(self, snapshot: Snapshot) -> None:
        """Show the document of a snapshot."""
        before, self._snapshot = self._snapshot, snapshot
        if before is not None and before.key != snapshot.key:
            self.expansion = ExpansionState()
            self.cursor = -1
            self.scroll_to(0, 0, animate=False, force=True)
        self.title = snapshot.key or "document"
        self.redraw()
        if self._pointed is not None and snapshot.moment is not None:
            line = find_path_line(self.lines, self._pointed)
            self.cursor = self.cursor if line is None else line
            self._pointed = None
        elif snapshot.differences:
            _scroll_to_change(self)

    def on_resize(self) -> None:
        super().on_resize()
        if self.cursor < 0 and self._snapshot is not None and self._snapshot.differences:
            _scroll_to_change(self)

    def point_at(self, path: DocumentPath) -> None:
        """Put the cursor on this value when the next snapshot comes."""
        self._pointed = path

    def redraw(self) -> None:
        snapshot = self._snapshot
        if snapshot is None:
            return
        moment = snapshot.moment
        if snapshot.key is None or moment is None or (moment.current is None):
            self.subtitle = self._said = ""
            self.show_lines([ValueLine(((_empty_text(snapshot), "muted"),))])
            return
        value = snapshot.value
        expansion = self.expansion.reveal(self._pointed or self.path)
        lines = value_lines(value, snapshot.differences, expansion)
        if value is ABSENT:
            lines = [ValueLine((("deleted", "removed"),)), *lines]
        self.show_lines(lines)
        at, count = moment.changed_at, len(snapshot.differences)
        if snapshot.base is not None:
            base = f"#{snapshot.base_label}" if snapshot.base >= 0 else "the start"
            self._said = f"{format_count(count, 'difference')} from {base}"
        else:
            self._said = _change_text(snapshot, at, count)
        self.subtitle = self._said

    def show_late_details(self, settled: LateDetails) -> None:
        """Add to the subtitle where the document changes next."""
        if settled.next_change is not None and self._said:
            self.subtitle = f"{self._said} · next at {settled.next_change:,}"

    @property
    def text(self) -> str:
        """The document as JSON, for copying."""
        return "" if self._snapshot is None else encode_value(self._snapshot.value)


def _scroll_to_change(pane: ValueView) -> None:
    """Scroll to the first value that the event changed, if it is out of view."""
    line = find_first_change(pane.lines)
    if line is not None:
        pane.scroller.show(line)


def _change_text(snapshot: Snapshot, at: int | None, count: int) -> str:
    """Return where the document last changed."""
    first = snapshot.fold_record.first_offset if snapshot.fold_record else 0
    if at is None or at < first:
        return f"last changed before {first:,}"
    return (
        f"{format_count(count, 'change')} here" if at == snapshot.position else f"changed at {at:,}"
    )


def _empty_text(snapshot: Snapshot) -> str:
    if snapshot.key is None:
        return "no document selected: press d"
    if not snapshot.has_states:
        return "not folded up to this event yet"
    return "doesn't exist yet"
