"""The widgets of the main screen, and what each shows of the view state."""

from dataclasses import dataclass, field

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.widget import Widget
from textual.widgets import Footer

from tui.state.snapshot import LateDetails, Snapshot
from tui.state.view_state import LowerPane, View
from tui.widgets.bars import Header, MessageLine, PositionLine, Prompt, WhatIfLine
from tui.widgets.code_pane import CodePane
from tui.widgets.compared_pane import ComparedPane
from tui.widgets.density_strip import DensityStrip
from tui.widgets.document_pane import DocumentPane
from tui.widgets.documents_pane import DocumentsPane
from tui.widgets.event_pane import EventPane
from tui.widgets.events_pane import EventsPane
from tui.widgets.results_pane import ResultsPane


@dataclass(frozen=True, eq=False)
class Panes:
    """The widgets. They render from immutable values, and query nothing."""

    header: Header = field(default_factory=lambda: Header(id="header"))
    what_if: WhatIfLine = field(default_factory=lambda: WhatIfLine(id="what-if"))
    strip: DensityStrip = field(default_factory=lambda: DensityStrip(id="strip"))
    position: PositionLine = field(default_factory=lambda: PositionLine(id="position"))
    events: EventsPane = field(default_factory=lambda: EventsPane(id="events"))
    documents: DocumentsPane = field(default_factory=lambda: DocumentsPane(id="documents"))
    document: DocumentPane = field(
        default_factory=lambda: DocumentPane(id="document", title="document")
    )
    event: EventPane = field(default_factory=lambda: EventPane(id="event", title="event"))
    compared: ComparedPane = field(default_factory=lambda: ComparedPane(id="compared"))
    code: CodePane = field(default_factory=lambda: CodePane(id="code"))
    results: ResultsPane = field(default_factory=lambda: ResultsPane(id="findings"))
    message: MessageLine = field(default_factory=lambda: MessageLine(id="message"))
    prompt: Prompt = field(default_factory=lambda: Prompt(id="prompt"))

    def compose(self) -> ComposeResult:
        """Yield the widgets as they are laid out."""
        yield from (self.header, self.what_if, self.strip, self.position)
        with Horizontal(id="panes"):
            with Vertical(id="lists"):
                yield from (self.events, self.documents)
            with Vertical(id="details"):
                with Horizontal(id="values"):
                    yield from (self.document, self.event)
                yield from (self.compared, self.code)
        yield from (self.results, self.message, self.prompt)
        yield Footer(show_command_palette=False, compact=True)

    def hide_closed(self) -> None:
        """Hide what is not open at the start."""
        self.prompt.display = self.what_if.display = False

    def move_cursors(self, position: int) -> None:
        """Move the cursors of the lists and of the strip to a position."""
        self.events.move_cursor_to(position)
        self.strip.move_cursor_to(position)
        if self.results.display:
            self.results.move_cursor_to(position)

    def show_snapshot(self, snapshot: Snapshot, event_count: int) -> None:
        """Show what changes with each step."""
        self.position.show_snapshot(snapshot, event_count)
        self.event.show_snapshot(snapshot)
        self.document.show_snapshot(snapshot)
        self.documents.mark_changed(snapshot.changed_keys)

    def show_late_details(self, details: LateDetails, *, pinned: bool) -> None:
        """Show the details that arrive when the position has settled."""
        self.document.show_late_details(details)
        self.documents.show_late_details(details, pinned=pinned)

    def show_data(self, view: View) -> None:
        """Show the documents of the view's history."""
        history = view.data.history_view
        first_offset = 0 if history is None else history.fold_record.first_offset
        self.documents.show_documents(view.data.document_rows, first_offset)

    def show_lower_pane(self, view: View, plot: Widget | None) -> None:
        """Show the open one of the panes below the others."""
        self.results.display = view.lower_pane is LowerPane.RESULTS
        if plot is not None:
            plot.display = view.lower_pane is LowerPane.PLOT

    def focused_json(self, focused: Widget | None) -> str:
        """Return the JSON to copy: of the event if its pane or its list has the focus."""
        is_event = isinstance(focused, (EventPane, EventsPane))
        return self.event.text if is_event else self.document.text
