"""Queries about the log, as tables: irregularities, causes and effects, bookmarks.

They need no projection. They run in a thread, as those of `tui.results.projection_queries`.
"""

from collections.abc import Iterator

from replay.document import paths
from storage.errors import QueryError
from storage.log import causation, irregularities
from storage.log.positions import START
from storage.marks import bookmarks
from tui.results.table import (
    MAX_ROWS,
    MAX_TEXT,
    ResultRow,
    ResultTable,
    document_span,
    event_span,
    table_of_rows,
    truncation_note,
)
from tui.state.shown_data import ShownData
from tui.text.sanitize import shorten
from tui.text.timestamps import format_full_time

_VALUE = 60
"""Columns of an irregular value."""


def list_irregularities(data: ShownData) -> Iterator[ResultTable]:
    """Return the gaps and duplicates of the log: repeated ids, revisions, times that run backwards."""
    found = list(irregularities.find_irregularities(data.workspace, MAX_ROWS + 1))
    if not found:
        raise QueryError("No gaps or duplicates: ids, revisions and times are in order.")
    rows = [
        ResultRow(
            one.offset,
            (
                event_span(data, one.offset),
                (f"{shorten(one.stream or '–', MAX_TEXT)}  ", ""),
                (f"{one.kind}  ", "failed"),
                (f"{shorten(one.before, _VALUE)} ", "was"),
                (f"→ {shorten(one.found, _VALUE)}", ""),
            ),
        )
        for one in found[:MAX_ROWS]
    ]
    yield table_of_rows("gaps and duplicates", rows, note=truncation_note(len(found), MAX_ROWS))


def causation_tree(data: ShownData, position: int) -> Iterator[ResultTable]:
    """Return the tree of events that caused the event at a position, and that it caused."""
    if position == START:
        raise QueryError("There is no event at the start. Press ] for the first event.")
    found = causation.build_causal_tree(data.workspace, position)
    if len(found.events) < 2:
        raise QueryError(
            "No related events: none shares its correlation id, caused it or was caused by it."
        )
    rows = [
        ResultRow(
            cause.event.offset,
            (
                event_span(data, cause.event.offset),
                ("  " * min(cause.depth, 40) + ("└ " if cause.depth else ""), "muted"),
                (f"{cause.event.type or '–'}", "mark" if cause.event.offset == position else ""),
                (f"  {shorten(cause.event.stream or '–', 40)}", "key"),
                (f"  {format_full_time(cause.event.time)}" if cause.event.time else "", "muted"),
            ),
        )
        for cause in found.events
    ]
    note = "nearest events only" if found.is_truncated else ""
    yield table_of_rows("causes and effects", rows, note=note)


def list_bookmarks(data: ShownData) -> Iterator[ResultTable]:
    """Return the bookmarks."""
    found = bookmarks.list_bookmarks(data.workspace)
    if not found:
        raise QueryError("No bookmarks yet. Press B to bookmark this position.")
    rows = [
        ResultRow(
            b.position,
            (
                event_span(data, b.position),
                document_span(b.key or "–"),
                (b.note or "–", ""),
                (f"  {b.path}" if b.path and b.path != "$" else "", "muted"),
            ),
            b.key,
            paths.parse_path(b.path) if b.path else None,
            keeps_document=b.key is not None,
            bookmark=b.number,
        )
        for b in found
    ]
    yield table_of_rows("bookmarks", rows)
