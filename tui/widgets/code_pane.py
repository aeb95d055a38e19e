"""The pane with the code that handled the event; it marks the lines that may have changed a value.

The value is the one under the document's cursor; without a cursor, all values that the event changed.
"""

import io
import keyword
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path as File
from typing import TYPE_CHECKING

from textual.worker import get_current_worker

from replay.document import paths
from replay.document.paths import DocumentPath
from replay.handlers.handler_source import HandlerCode, HandlerSource
from storage.errors import QueryError, summarize_error
from tui.state.snapshot import Snapshot
from tui.text.span import Span
from tui.widgets.document_pane import DocumentPane
from tui.widgets.line_view import LineView

if TYPE_CHECKING:
    from replay.history.history import History

_TAB = 4


@dataclass(frozen=True)
class _ColouredHandler:
    """A handler with its syntax colours."""

    handler: HandlerSource
    lines: tuple[tuple[Span, ...], ...]


class CodePane(LineView):
    """Shows the handler of the event's type."""

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, title="code")
        self._snapshot: Snapshot | None = None
        self._code: HandlerCode | None = None
        self._found: dict[str | None, _ColouredHandler | str] = {}
        self._shown: _ColouredHandler | str = ""
        self._marked: frozenset[int] = frozenset()
        self._asking = False

    def on_mount(self) -> None:
        self.watch(self.screen.query_one(DocumentPane), "cursor", self._mark_lines, init=False)

    def show_snapshot(self, snapshot: Snapshot | None) -> None:
        """Show the code that handled the snapshot's event; unknown code is read in a thread."""
        self._snapshot = snapshot
        if not self.display or snapshot is None:
            return
        if snapshot.event is None or snapshot.history is None:
            self._show_handler("no event at the start")
            return
        if self._code is None or self._code.fold_record is not snapshot.history.fold_record:
            self._load_code(snapshot.history)
        found = self._found.get(snapshot.event.type)
        if found is not None:
            self._show_handler(found)
        elif not self._asking and self._code is not None:
            self._asking = True
            ask = partial(self._query_handler, self._code, snapshot.event.type)
            self.run_worker(ask, thread=True, group="code", exit_on_error=False)

    def _load_code(self, history: "History") -> None:
        """Forget the handlers if the code has changed; more folded events don't matter."""
        before = self._code.fold_record if self._code is not None else None
        now = history.fold_record
        if before is None or (before.projection_number, before.files) != (
            now.projection_number,
            now.files,
        ):
            self._code = HandlerCode(now)
            self._found = {}

    def _query_handler(self, code: HandlerCode, type_name: str | None) -> None:
        found: _ColouredHandler | str
        try:
            handler = code.find_handler(type_name)
            found = _ColouredHandler(handler, tuple(_highlight_lines(handler.lines)))
        except QueryError as error:
            found = error.message
        except Exception as error:  # noqa: BLE001 - code that can't be read must not end the screen
            found = f"The code can't be read: {summarize_error(error)}"
        if not get_current_worker().is_cancelled:
            self.app.call_from_thread(self._on_handler_found, code, type_name, found)

    def _on_handler_found(
        self, code: HandlerCode, type_name: str | None, found: "_ColouredHandler | str"
    ) -> None:
        self._asking = False
        if code is self._code:
            self._found[type_name] = found
        self.show_snapshot(self._snapshot)

    def _show_handler(self, found: "_ColouredHandler | str") -> None:
        if found is not self._shown:
            self._shown = found
            self.line_count = 1 if isinstance(found, str) else len(found.lines)
            self.cursor = -1
            self.scroll_to(0, 0, animate=False, force=True)
            self.refresh()
            if isinstance(found, str):
                self.title = "code"
            else:
                handler = found.handler
                self.title = f"{handler.name} · {File(handler.file).name}:{handler.first_line}"
        self._mark_lines()

    def _mark_lines(self) -> None:
        """Mark the lines that may have changed the selected value."""
        if isinstance(self._shown, str) or not self.display:
            self._marked = frozenset()
            self.subtitle = ""
            return
        handler = self._shown.handler
        wanted, what = self._marked_paths()
        marked = handler.lines_changing(wanted)
        for number in marked ^ self._marked:
            self.refresh_line(number - handler.first_line)
        self._marked = marked
        self.subtitle = f"▸ {what}" if marked else ""
        if marked:
            self.show_line(min(marked) - handler.first_line)

    def _marked_paths(self) -> tuple[Sequence[DocumentPath], str]:
        document = self.screen.query_one(DocumentPane)
        if document.cursor >= 0:
            return [document.path], f"may change {paths.format_path(document.path)}"
        changed = self._snapshot.differences if self._snapshot is not None else ()
        return [found.path for found in changed], "may have changed the document"

    def spans(self, line: int) -> Iterable[Span]:
        if isinstance(self._shown, str):
            return [(f"  {self._shown}", "muted")]
        handler = self._shown.handler
        number = handler.first_line + line
        width = len(str(handler.first_line + len(handler.lines) - 1))
        marked = number in self._marked
        head = ("▸" if marked else " ", "mark"), (f"{number:>{width}} ", "muted")
        return [*head, *self._shown.lines[line]]

    def line_style(self, line: int) -> str:
        if isinstance(self._shown, str):
            return ""
        return "changed" if self._shown.handler.first_line + line in self._marked else ""

    @property
    def content_width(self) -> int:
        if isinstance(self._shown, str):
            return len(self._shown) + 2
        return max((len(line) for line in self._shown.handler.lines), default=0) + 8


def _highlight_lines(lines: Sequence[str]) -> Iterator[tuple[Span, ...]]:
    """Yield the lines with the styles of their tokens; plain lines if the code can't be tokenized."""
    shown = [line.expandtabs(_TAB) for line in lines]
    styles: list[list[tuple[int, int, str]]] = [[] for _ in shown]
    try:
        for token in tokenize.generate_tokens(io.StringIO("\n".join(shown)).readline):
            style = _token_style(token)
            for row in range(token.start[0], token.end[0] + 1) if style else ():
                start = token.start[1] if row == token.start[0] else 0
                end = token.end[1] if row == token.end[0] else len(shown[row - 1])
                styles[row - 1].append((start, end, style))
    except (tokenize.TokenError, SyntaxError, IndexError):
        styles = [[] for _ in shown]
    for line, found in zip(shown, styles, strict=True):
        spans: list[Span] = []
        at = 0
        for start, end, style in found:
            spans += [(line[at:start], ""), (line[start:end], style)]
            at = end
        yield (*(span for span in spans if span[0]), (line[at:], ""))


def _token_style(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.NAME and keyword.iskeyword(token.string):
        return "truth" if token.string in ("None", "True", "False") else "key"
    return {tokenize.STRING: "text", tokenize.NUMBER: "number", tokenize.COMMENT: "muted"}.get(
        token.type, ""
    )
