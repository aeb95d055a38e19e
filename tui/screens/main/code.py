"""The code pane: the handler of the event, with the lines that may have changed the selected value."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from replay.document import paths
from replay.document.paths import DocumentPath
from replay.handlers.handler_source import HandlerCode, HandlerSource
from replay.history.catalogue import FoldRecord
from tui.state.query_runner import QueryRunner
from tui.state.view_state import ViewChange, ViewState
from tui.text.python_highlight import highlight_lines
from tui.widgets.code_pane import CodeListing


class CodeView(Protocol):
    """The pane with the code."""

    def show_listing(self, listing: CodeListing) -> None: ...

    def show_text(self, text: str) -> None: ...

    def mark_lines(self, numbers: frozenset[int], why: str) -> None: ...


class DocumentCursor(Protocol):
    """The document pane, as far as its cursor is concerned."""

    cursor: int

    @property
    def path(self) -> DocumentPath: ...


@dataclass(frozen=True)
class _ShownHandler:
    """A handler, and how it is drawn."""

    source: HandlerSource
    listing: CodeListing


class CodeController:
    """Reads the code of handlers in threads, while the code pane is open."""

    def __init__(
        self, state: ViewState, runner: QueryRunner, pane: CodeView, document: DocumentCursor
    ) -> None:
        self._state = state
        self._runner = runner
        self._pane = pane
        self._document = document
        self._code: HandlerCode | None = None
        self._known: dict[str | None, _ShownHandler | str] = {}
        """By event type: the handler, or why it can't be shown."""
        self._handler: _ShownHandler | None = None
        self._is_reading = False
        state.observe(self._show_code, ViewChange.SNAPSHOT, ViewChange.PANE)

    def toggle(self) -> None:
        """Open or close the code pane."""
        self._state.show_code(not self._state.view.is_code_open)

    def close(self) -> bool:
        """Close the code pane; return whether it was open."""
        if not self._state.view.is_code_open:
            return False
        self.toggle()
        return True

    def _show_code(self) -> None:
        """Show the code that handled the snapshot's event; unknown code is read in a thread."""
        snapshot = self._state.snapshot
        if not self._state.view.is_code_open or snapshot is None:
            return
        if snapshot.event is None or snapshot.fold_record is None:
            self._show_handler("no event at the start")
            return
        code = self._load_code(snapshot.fold_record)
        event_type = snapshot.event.type
        known = self._known.get(event_type)
        if known is not None:
            self._show_handler(known)
        elif not self._is_reading:
            self._is_reading = True
            self._runner.run(
                lambda _: _read_handler(code, event_type),
                partial(self._on_read, code, event_type),
                failure="The code can't be read",
                on_error=partial(self._on_read, code, event_type),
            )

    def _load_code(self, now: FoldRecord) -> HandlerCode:
        """Return the code; forget the handlers if it has changed, not if more events are folded."""
        before = None if self._code is None else self._code.fold_record
        if self._code is None or before is None or not _is_same_code(before, now):
            self._code = HandlerCode(now)
            self._known = {}
        return self._code

    def _on_read(
        self, code: HandlerCode, event_type: str | None, found: "_ShownHandler | str"
    ) -> None:
        self._is_reading = False
        if code is self._code:
            self._known[event_type] = found
        self._show_code()

    def _show_handler(self, found: "_ShownHandler | str") -> None:
        if isinstance(found, str):
            self._handler = None
            self._pane.show_text(found)
        else:
            self._handler = found
            self._pane.show_listing(found.listing)
        self.mark_lines()

    def mark_lines(self) -> None:
        """Mark the lines that may have changed the value under the document's cursor."""
        if self._handler is None or not self._state.view.is_code_open:
            self._pane.mark_lines(frozenset(), "")
            return
        wanted, why = self._marked_paths()
        self._pane.mark_lines(self._handler.source.lines_changing(wanted), why)

    def _marked_paths(self) -> tuple[Sequence[DocumentPath], str]:
        if self._document.cursor >= 0:
            path = self._document.path
            return [path], f"may change {paths.format_path(path)}"
        snapshot = self._state.snapshot
        changed = snapshot.differences if snapshot is not None else ()
        return [found.path for found in changed], "may have changed the document"


def _is_same_code(one: FoldRecord, other: FoldRecord) -> bool:
    same = one.projection_number == other.projection_number
    return one is other or (same and one.files == other.files)


def _read_handler(code: HandlerCode, event_type: str | None) -> _ShownHandler:
    """Read a handler, in a thread."""
    source = code.find_handler(event_type)
    title = f"{source.name} · {Path(source.file).name}:{source.first_line}"
    lines = tuple(highlight_lines(source.lines))
    return _ShownHandler(source, CodeListing(title, source.first_line, lines))
